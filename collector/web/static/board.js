// The board: open tickets, vehicles, tickets resolved lately. Texts from kit are only ever set as text, never as HTML.
// Everything is loaded once, page by page; then the stream of changes names what is to be asked for again.
"use strict";

const TEXTS = {
  zh: {
    title: "急救车5G设备监测", language: "English", open: "未解决的故障", vehicles: "车辆", resolved: "最近解决的故障",
    none_open: "没有未解决的故障。", none_resolved: "还没有。", up: "实时更新", down: "与中心的连接中断,正在重试",
    since: (time) => `已 ${time}`, took: (time) => `历时 ${time}`, first: "先做", heard: (time) => `${time}前`, never: "从未收到",
    colon: "：", bad_row: "无法显示", stale: (time) => `页面数据已过时：${time} 没有收到中心的应答。以下内容可能已经变化。`,
    since_when: (time) => `自 ${time} 起`, ever: "从一开始就",
    site: {
      not_listening: (name, when) => `${name}：${when}收不到车辆消息（消息服务器不通）。没有告警不代表正常。`,
      unowned: (name, when) => `${name}：${when}没有采集服务在运行，故障不会被发现。`,
      stuck: (name, when) => `${name}：${when}收到的消息无法保存，故障不会被发现。`,
      never_owned: (name) => `${name}：采集服务从未运行。`, unknown: (name) => `${name}：状态未知。`,
    },
    event: "发生", opened: "开单", closed: "恢复", recurring: "反复发生", not_listed: "不在车队文件中",
    units: ["秒", "分钟", "小时", "天"], space: " ",
    state: { on_duty: "值班", on_mission: "出车", parked: "停放", workshop: "维修", silent: "失联", unheard: "未再听到", never_heard: "从未上线", unknown: "未知" },
    inferred: "（推断）",
    sla: { disaster: "灾难性故障", general: "一般性故障", hardware: "硬件故障", deferrable: "可延后处理", change: "需求变更", consultation: "咨询" },
    kind: { router: "路由器", modem: "5G模组", gnss: "定位", camera: "摄像头", encoder: "编码器", switch: "交换机", ups: "UPS",
      power: "电源", host: "主机", link: "链路", module: "平台模块", agent: "采集程序" },
  },
  en: {
    title: "Ambulance 5G kit", language: "中文", open: "Open faults", vehicles: "Vehicles", resolved: "Resolved lately",
    none_open: "No open faults.", none_resolved: "None yet.", up: "live", down: "connection to the centre lost, trying again",
    since: (time) => `for ${time}`, took: (time) => `took ${time}`, first: "first", heard: (time) => `${time} ago`, never: "never heard",
    colon: ": ", bad_row: "cannot be shown", stale: (time) => `This page is stale: no answer from the centre for ${time}. What it shows may have changed.`,
    since_when: (time) => `since ${time}`, ever: "ever since it began",
    site: {
      not_listening: (name, when) => `${name}: nothing is heard of the vehicles ${when} (no way through the broker). No alarm does not mean that all is well.`,
      unowned: (name, when) => `${name}: no collector is at work ${when}; faults are not noticed.`,
      stuck: (name, when) => `${name}: what comes in cannot be stored ${when}; faults are not noticed.`,
      never_owned: (name) => `${name}: no collector has ever been at work.`, unknown: (name) => `${name}: its state is unknown.`,
    },
    event: "happened", opened: "ticket", closed: "recovered", recurring: "recurring", not_listed: "not in the fleet file",
    units: ["s", "min", "h", "d"], space: " ",
    state: { on_duty: "on duty", on_mission: "on mission", parked: "parked", workshop: "workshop", silent: "silent", unheard: "not heard since our outage", never_heard: "never heard", unknown: "unknown" },
    inferred: " (inferred)",
    sla: {}, kind: {},
  },
};
const RESOLVED_SHOWN = 20;
const RETRY_MS = 3000;
const SITES_EVERY_MS = 10000;
const STALE_MS = 30000;
const NAMED = 100;
let language = localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");
let shown = { vehicles: new Map(), tickets: new Map(), sites: new Map() };
let answeredMs = Date.now();
let aheadMs = 0; // of the centre's clock to ours

const vehicleKey = (vehicle) => `${vehicle.site}/${vehicle.vehicle}`;
const ticketKey = (ticket) => `${ticket.site}/${ticket.id}`;
const centreMs = () => Date.now() + aheadMs;
const listens = (site) => (shown.sites.get(site) || {}).state === "listening" && Date.now() - answeredMs < STALE_MS;

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

const zoneOf = (site) => (shown.sites.get(site) || { time_zone: "UTC" }).time_zone;
const clock = (iso, site) => new Date(iso).toLocaleString(language === "zh" ? "zh-CN" : "en-GB",
  { timeZone: zoneOf(site), month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const between = (from, to) => (new Date(to) - new Date(from)) / 1000;

function vehicleName(ticket) {
  const found = shown.vehicles.get(vehicleKey(ticket));
  return (found && found.name) || ticket.vehicle;
}

function deviceName(ticket) {
  const vehicle = shown.vehicles.get(vehicleKey(ticket));
  const device = vehicle && vehicle.devices.find((one) => one.device === ticket.device);
  if (!ticket.device || ticket.device === ticket.vehicle) return "";
  return (device && (device.name || (device.kind && word("kind", device.kind)))) || ticket.device;
}

function ticketRow(ticket) {
  if (ticket.problem) {
    const bad = element("li", "critical", element("div", "fact", `${ticket.site} ${ticket.id} ${text().bad_row}`), element("div", "meta", ticket.problem));
    bad.dataset.ticket = ticket.id;
    return bad;
  }
  const end = ticket.over_event_at || ticket.resolved_at || ticket.closed_at;
  const lasted = end ? text().took(span(between(ticket.event_at, end))) : text().since(span(between(ticket.event_at, centreMs())));
  const who = [ticket.vehicle ? vehicleName(ticket) : ticket.site, deviceName(ticket)].filter(Boolean).join(text().space);
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
  const state = element("span", `state ${vehicle.state}`,
    word("state", vehicle.state) + (vehicle.parked_inferred ? text().inferred : ""));
  const name = element("div", "name", element("b", "", vehicle.name || vehicle.vehicle),
    element("span", "meta", vehicle.plate || (vehicle.in_fleet_file ? vehicle.vehicle : text().not_listed)), state);
  const devices = element("ul", "devices", ...vehicle.devices.filter((device) => device.kind !== "agent").map((device) => {
    const told = [...vehicle.problems, ...vehicle.open_tickets.filter((ticket) => !ticket.problem && !ticket.over_event_at)];
    const faults = [...new Set(told.filter((one) => one.device === device.device).map((one) => one.fault_name[language]))];
    const label = device.name || word("kind", device.kind) || device.device;
    const trouble = faults.join(", ") || device.problem;
    const heard = device.heard_at ? text().heard(span(between(device.heard_at, centreMs()))) : text().never;
    const isCurrent = device.current_until && new Date(device.current_until) > centreMs() && listens(vehicle.site);
    const row = element("li", faults.length || device.problem ? "bad" : isCurrent ? "good" : "",
      element("span", "what", trouble ? `${label}${text().colon}${trouble}` : label, " ",
        element("span", "meta", label === device.device ? "" : device.device)), element("span", "meta", heard));
    row.dataset.device = device.device;
    return row;
  }));
  const card = element("li", "", name, devices, vehicle.problem ? element("div", "meta", `${text().bad_row}${text().colon}${vehicle.problem}`) : "");
  card.dataset.vehicle = vehicle.vehicle;
  return card;
}

function warnings() {
  const told = [...shown.sites.values()].filter((site) => site.state !== "listening").map((site) => {
    const when = site.since ? text().since_when(clock(site.since, site.site)) : text().ever;
    const row = element("li", "", (text().site[site.state] || text().site.unknown)(site.name || site.site, when));
    row.dataset.site = site.site;
    row.dataset.state = site.state;
    return row;
  });
  const silentMs = Date.now() - answeredMs;
  if (silentMs >= STALE_MS) {
    const row = element("li", "", text().stale(span(silentMs / 1000)));
    row.dataset.state = "stale";
    told.unshift(row);
  }
  return told;
}

function render() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const marked of document.querySelectorAll("[data-text]")) marked.textContent = text()[marked.dataset.text];
  document.title = `${text().title} · kitwatch`;
  document.getElementById("warnings").replaceChildren(...warnings());
  const grave = { critical: 0, major: 1, minor: 2 };
  const tickets = [...shown.tickets.values()];
  const rank = (ticket) => grave[ticket.severity] ?? -1; // one that cannot be shown comes first
  const open = tickets.filter((ticket) => ticket.open || ticket.problem)
    .sort((a, b) => rank(a) - rank(b) || (a.event_at || "").localeCompare(b.event_at || ""));
  const resolved = tickets.filter((ticket) => !ticket.open && !ticket.problem)
    .sort((a, b) => b.changed_at.localeCompare(a.changed_at)).slice(0, RESOLVED_SHOWN);
  for (const [id, list] of [["open", open], ["resolved", resolved]]) {
    document.getElementById(id).replaceChildren(...list.map(ticketRow));
    document.getElementById(`${id}-none`).hidden = list.length > 0;
    document.getElementById(`${id}-count`).textContent = list.length || "";
  }
  const vehicles = [...shown.vehicles.keys()].sort().map((key) => shown.vehicles.get(key));
  document.getElementById("vehicles").replaceChildren(...vehicles.map(vehicleCard));
  document.getElementById("vehicle-count").textContent = vehicles.length || "";
}

function tell(up) {
  const live = document.getElementById("live");
  live.className = up ? "up" : "down";
  live.textContent = up ? text().up : text().down;
}

async function get(path, query = []) {
  const answer = await fetch(query.length ? `${path}?${new URLSearchParams(query)}` : path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  const found = await answer.json();
  answeredMs = Date.now();
  return found;
}

async function pages(path, list, query) {
  const rows = [];
  for (let after = null; ;) {
    const page = await get(path, after === null ? query : [...query, ["after", after]]);
    rows.push(...page[list]);
    after = page.next;
    if (!after) return rows;
  }
}

const named = (name, ids) => {
  const parts = [];
  for (let at = 0; at < ids.length; at += NAMED) parts.push(ids.slice(at, at + NAMED).map((id) => [name, id]));
  return parts;
};

async function loadSites() {
  const found = await get("api/sites");
  aheadMs = new Date(found.now) - Date.now();
  shown.sites = new Map(found.sites.map((site) => [site.site, site]));
}

async function loadEverything() {
  await loadSites();
  const [vehicles, open, resolved] = await Promise.all([
    pages("api/vehicles", "vehicles", [["limit", 1000]]), pages("api/tickets", "tickets", [["state", "open"], ["limit", 1000]]),
    get("api/tickets", [["state", "ended"], ["order", "changed"], ["limit", RESOLVED_SHOWN]])]);
  shown.vehicles = new Map(vehicles.map((vehicle) => [vehicleKey(vehicle), vehicle]));
  shown.tickets = new Map([...resolved.tickets, ...open].map((ticket) => [ticketKey(ticket), ticket]));
}

// What is still to be asked for; it stays until it was answered.
const wanted = { everything: false, sites: false, vehicles: new Set(), tickets: new Set() };
let loading = false;
async function load() {
  if (loading) return;
  loading = true;
  try {
    while (wanted.everything || wanted.sites || wanted.vehicles.size || wanted.tickets.size) {
      const now = { ...wanted, vehicles: [...wanted.vehicles], tickets: [...wanted.tickets] };
      Object.assign(wanted, { everything: false, sites: false, vehicles: new Set(), tickets: new Set() });
      try {
        if (now.everything) await loadEverything();
        else {
          if (now.sites) await loadSites();
          for (const query of named("vehicle", now.vehicles))
            for (const one of (await get("api/vehicles", query)).vehicles) shown.vehicles.set(vehicleKey(one), one);
          for (const query of named("ticket", now.tickets))
            for (const one of (await get("api/tickets", query)).tickets) shown.tickets.set(ticketKey(one), one);
        }
      } catch (error) {
        want(now);
        throw error;
      }
      render();
      tell(true);
    }
  } catch {
    tell(false);
    setTimeout(load, RETRY_MS);
  } finally {
    loading = false;
  }
}

function want({ everything, sites, vehicles, tickets }) {
  wanted.everything ||= Boolean(everything);
  wanted.sites ||= Boolean(sites);
  for (const one of vehicles || []) wanted.vehicles.add(one);
  for (const one of tickets || []) wanted.tickets.add(one);
}

document.getElementById("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem("language", language);
  render();
  tell(document.getElementById("live").className === "up");
});
const changes = new EventSource("api/changes");
changes.addEventListener("change", (event) => {
  const told = JSON.parse(event.data);
  want({ ...told, sites: told.sites.length > 0, tickets: told.tickets.map((ticket) => ticket.id) });
  load();
});
changes.addEventListener("error", () => tell(false));
setInterval(render, 5000);
setInterval(() => { want({ sites: true }); load(); }, SITES_EVERY_MS);
want({ everything: true });
load();
