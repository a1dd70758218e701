// A vehicle's charts: what was read, gaps as gaps, tickets as marks.
"use strict";

const charts = document.getElementById("charts");

function ink(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function marked(marks) {
  return {
    hooks: {
      draw: [(plot) => {
        plot.ctx.save();
        plot.ctx.strokeStyle = plot.ctx.fillStyle = ink("--critical");
        for (const mark of marks) {
          const x = plot.valToPos(mark.at, "x", true);
          plot.ctx.beginPath();
          plot.ctx.moveTo(x, plot.bbox.top);
          plot.ctx.lineTo(x, plot.bbox.top + plot.bbox.height);
          plot.ctx.stroke();
          plot.ctx.fillText(mark.text, x + 3, plot.bbox.top + 12);
        }
        plot.ctx.restore();
      }],
    },
  };
}

function draw(figure, found, series) {
  const colours = ["--link", "--major", "--good", "--critical", "--minor"];
  const axis = { stroke: ink("--soft"), grid: { stroke: ink("--line") } };
  const units = [...new Set(series.map((one) => one.unit))];
  new uPlot({
    width: figure.clientWidth, height: 180, plugins: [marked(found.marks)],
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), charts.dataset.zone),
    series: [{}, ...series.map((one, number) => ({
      label: `${one.of} ${one.metric.split(".")[1]} (${one.unit})`, stroke: ink(colours[number % colours.length]),
      width: 1.5, scale: one.unit, points: { show: false }, dash: number >= colours.length ? [6, 3] : [],
    }))],
    axes: [axis, ...units.map((unit, number) => ({ ...axis, scale: unit, side: number ? 1 : 3, size: 60 }))],
  }, [found.times, ...series.map((one) => one.values)], figure);
}

async function show() {
  const answer = await fetch(charts.dataset.from);
  if (!answer.ok) return;
  const found = await answer.json();
  for (const figure of charts.querySelectorAll("figure")) {
    const series = found.charts[figure.dataset.chart];
    if (series.some((one) => one.values.some((value) => value !== null))) draw(figure, found, series);
    else figure.append(Object.assign(document.createElement("p"), { className: "quiet", textContent: charts.dataset.none }));
  }
  charts.dataset.drawn = "yes";
}
show();
