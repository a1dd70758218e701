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

// uPlot draws through undefined and not through null: a device that is asked once a minute has gaps only where it was not.
function bridged(one) {
  const found = [...one.values];
  let last = -1;
  found.forEach((value, at) => {
    if (value === null) return;
    if (last >= 0 && at - last - 1 <= one.bridge) found.fill(undefined, last + 1, at);
    last = at;
  });
  return found;
}

// 13 V and 230 V are no neighbours: what is always ten times another of its unit has a scale of its own.
function scalesOf(series) {
  const spans = series.map((one) => {
    const read = one.values.filter((value) => value !== null);
    return [Math.min(...read), Math.max(...read)];
  });
  return series.map((one, number) => {
    const others = spans.filter((_, other) => series[other].unit === one.unit);
    const isFar = others.some(([, most]) => most > 0 && spans[number][0] > 10 * most);
    return isFar ? `${one.unit} far` : one.unit;
  });
}

function draw(figure, found, series) {
  const colours = ["--link", "--major", "--good", "--critical", "--minor"];
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const font = `${Math.round(rem * 0.85)}px ${getComputedStyle(document.body).fontFamily}`;
  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: charts.dataset.zone });
  const says = (seconds) => (seconds === null ? "--" : clock.format(new Date(seconds * 1000)));
  const axis = { stroke: ink("--soft"), grid: { stroke: ink("--line"), width: 1 }, font };
  const scaleOf = scalesOf(series);
  const scales = [...new Set(scaleOf)];
  new uPlot({
    width: figure.clientWidth, height: Math.round(rem * 13), plugins: [marked(found.marks)],
    series: [{ label: charts.dataset.time, value: (_, seconds) => says(seconds) }, ...series.map((one, number) => ({
      label: `${one.label} (${one.unit})`, stroke: ink(colours[number % colours.length]),
      width: 2, scale: scaleOf[number], points: { show: false }, dash: number >= colours.length ? [6, 3] : [],
    }))],
    axes: [{ ...axis, values: (_, splits) => splits.map(says), size: rem * 2.5 },
      ...scales.map((scale, number) => ({ ...axis, scale, side: number ? 1 : 3, size: rem * 4,
        grid: { ...axis.grid, show: number === 0 } }))],
  }, [found.times, ...series.map(bridged)], figure);
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
