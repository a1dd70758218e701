// The board: open tickets, vehicles, tickets resolved lately. Texts from kit are only ever set as text, never as HTML.
"use strict";

const TEXTS = {
  zh: {
    title: "急救车5G设备监测", language: "English", open: "未解决的故障", vehicles: "车辆", resolved: "最近解决的故障",
    none_open: "没有未解决的故障。", none_resolved: "还没有。", up: "实时更新", down: "与中心的连接中断,正在重试",
    since: (time) => `已 ${time}`, took: (time) => `历时 ${time}`, first: "先做", heard: (time) => `${time}前`, never: "从未收到",
    colon: "：", event: "发生", opened: "开单", closed: "恢复", recurring: "反复发生", not_listed: "不在车队文件中",
    units: ["秒", "分钟", "小时", "天"], space: " ",
    state: { on_duty: "值班", on_mission: "出车", parked: "停放", workshop: "维修", silent: "失联", never_heard: "从未上线" },
    sla: { disaster: "灾难性故障", general: "一般性故障", hardware: "硬件故障", deferrable: "可延后处理", change: "需求变更", consultation: "咨询" },
    kind: { router: "路由器", modem: "5G模组", gnss: "定位", camera: "摄像头", encoder: "编码器", switch: "交换机", ups: "UPS",
      power: "电源", host: "主机", link: "链路", module: "平台模块", agent: "采集程序" },
  },
  en: {
    title: "Ambulance 5G kit", language: "中文", open: "Open faults", vehicles: "Vehicles", resolved: "Resolved lately",
    none_open: "No open faults.", none_resolved: "None yet.", up: "live", down: "connection to the centre lost, trying again",
    since: (time) => `for ${time}`, took: (time) => `took ${time}`, first: "first", heard: (time) => `${time} ago`, never: "never heard",
    colon: ": ", event: "happened", opened: "ticket", closed: "recovered", recurring: "recurring", not_listed: "not in the fleet file",
    units: ["s", "min", "h", "d"], space: " ",
    state: { on_duty: "on duty", on_mission: "on mission", parked: "parked", workshop: "workshop", silent: "silent", never_heard: "never heard" },
    sla: {}, kind: {},
  },
};
const RESOLVED_SHOWN = 20;
const RETRY_MS = 3000;
let language = localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");
let shown = { vehicles: [], tickets: [] };

const text = () => TEXTS[language];
const word = (group, id) => text()[group][id] || id;

function element(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content.filter((part) => part !== "" && part != null));
  return made;
}

function span(seconds) {
  const [s, min, h, d] = text().units;
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} ${s}`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} ${min}`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} ${h}`;
  return `${Math.round(seconds / 86400)} ${d}`;
}

const zoneOf = (site) => (shown.vehicles.find((vehicle) => vehicle.site === site) || { time_zone: "UTC" }).time_zone;
const clock = (iso, site) => new Date(iso).toLocaleString(language === "zh" ? "zh-CN" : "en-GB",
  { timeZone: zoneOf(site), month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const between = (from, to) => (new Date(to) - new Date(from)) / 1000;

function vehicleName(id) {
  const found = shown.vehicles.find((vehicle) => vehicle.vehicle === id);
  return (found && found.name) || id;
}

function deviceName(ticket) {
  const vehicle = shown.vehicles.find((one) => one.vehicle === ticket.vehicle);
  const device = vehicle && vehicle.devices.find((one) => one.device === ticket.device);
  if (!ticket.device || ticket.device === ticket.vehicle) return "";
  return (device && (device.name || (device.kind && word("kind", device.kind)))) || ticket.device;
}

function ticketRow(ticket) {
  const end = ticket.over_event_at || ticket.resolved_at || ticket.closed_at;
  const lasted = end ? text().took(span(between(ticket.event_at, end))) : text().since(span(between(ticket.event_at, new Date())));
  const who = [ticket.vehicle ? vehicleName(ticket.vehicle) : ticket.site, deviceName(ticket)].filter(Boolean).join(text().space);
  const next = !end && ticket.first[language] ? `${text().colon}${ticket.first[language]}` : "";
  const fact = element("div", "fact", `${who} ${ticket.fault_name[language]} ${lasted}`, element("span", "next", next));
  const times = [`${text().event} ${clock(ticket.event_at, ticket.site)}`, `${text().opened} ${clock(ticket.opened_at, ticket.site)}`];
  if (end) times.push(`${text().closed} ${clock(end, ticket.site)}`);
  const meta = element("div", "meta", [ticket.id, ticket.state_name[language],
    ...(ticket.recurring ? [text().recurring] : []), word("sla", ticket.sla_class), ...times].join(" · "));
  const row = element("li", ticket.severity, fact, meta);
  row.dataset.ticket = ticket.id;
  row.dataset.fault = ticket.fault;
  return row;
}

function vehicleCard(vehicle) {
  const state = element("span", `state ${vehicle.state}`, word("state", vehicle.state));
  const name = element("div", "name", element("b", "", vehicle.name || vehicle.vehicle),
    element("span", "meta", vehicle.plate || (vehicle.in_fleet_file ? vehicle.vehicle : text().not_listed)), state);
  const devices = element("ul", "devices", ...vehicle.devices.filter((device) => device.kind !== "agent").map((device) => {
    const told = [...vehicle.problems, ...vehicle.open_tickets.filter((ticket) => !ticket.over_event_at)];
    const faults = [...new Set(told.filter((one) => one.device === device.device).map((one) => one.fault_name[language]))];
    const label = device.name || word("kind", device.kind) || device.device;
    const trouble = faults.join(", ") || device.problem;
    const heard = device.heard_at ? text().heard(span(between(device.heard_at, new Date()))) : text().never;
    const row = element("li", faults.length || device.problem ? "bad" : device.heard_at ? "good" : "",
      element("span", "what", trouble ? `${label}${text().colon}${trouble}` : label, " ",
        element("span", "meta", label === device.device ? "" : device.device)), element("span", "meta", heard));
    row.dataset.device = device.device;
    return row;
  }));
  const card = element("li", "", name, devices);
  card.dataset.vehicle = vehicle.vehicle;
  return card;
}

function render() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const marked of document.querySelectorAll("[data-text]")) marked.textContent = text()[marked.dataset.text];
  document.title = `${text().title} · kitwatch`;
  const grave = { critical: 0, major: 1, minor: 2 };
  const open = shown.tickets.filter((ticket) => ticket.open)
    .sort((a, b) => grave[a.severity] - grave[b.severity] || a.event_at.localeCompare(b.event_at));
  const resolved = shown.tickets.filter((ticket) => !ticket.open)
    .sort((a, b) => b.changed_at.localeCompare(a.changed_at)).slice(0, RESOLVED_SHOWN);
  for (const [id, list] of [["open", open], ["resolved", resolved]]) {
    document.getElementById(id).replaceChildren(...list.map(ticketRow));
    document.getElementById(`${id}-none`).hidden = list.length > 0;
    document.getElementById(`${id}-count`).textContent = list.length || "";
  }
  document.getElementById("vehicles").replaceChildren(...shown.vehicles.map(vehicleCard));
  document.getElementById("vehicle-count").textContent = shown.vehicles.length || "";
}

function tell(up) {
  const live = document.getElementById("live");
  live.className = up ? "up" : "down";
  live.textContent = up ? text().up : text().down;
}

async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

let loading = false;
let again = false;
async function load() {
  if (loading) { again = true; return; }
  loading = true;
  try {
    const [vehicles, tickets] = await Promise.all([get("api/vehicles"), get("api/tickets")]);
    shown = { vehicles: vehicles.vehicles, tickets: tickets.tickets };
    render();
    tell(true);
  } catch (error) {
    tell(false);
    setTimeout(load, RETRY_MS);
  } finally {
    loading = false;
    if (again) { again = false; load(); }
  }
}

document.getElementById("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem("language", language);
  render();
  tell(document.getElementById("live").className === "up");
});
const changes = new EventSource("api/changes");
changes.addEventListener("change", load);
changes.addEventListener("error", () => tell(false));
setInterval(render, 5000);
load();
