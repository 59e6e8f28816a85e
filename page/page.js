// The page of htap-top serve: shows what GET /live sends. Texts of the database go into the page as text only.
"use strict";

const SILENT_MS = 15000; // the server says the time every 5 s
const RETRY_MS = 5000;
const WINDOWS = 30;
const byId = (id) => document.getElementById(id);

let source = null; // the open EventSource
let heard = 0; // when it said something last
let lost = null; // since when the connection is lost
let offset = 0; // the server's clock less this one's, in ms
let why = null; // why the server of the database is not measured
let ages = {}; // by panel: {at, current}
let retry = 0;
const windows = new Map();

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat();
const known = (figure) => typeof figure === "number";
const money = (figure) => (known(figure) ? compact.format(figure) : "?");
const count = (figure) => (known(figure) ? whole.format(figure) : "?");
const percent = (figure) => (known(figure) ? figure.toFixed(1) + " %" : "?");
const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const minute = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
const now = () => Date.now() + offset;

function duration(s) {
  if (!known(s)) return "?";
  if (s < 60) return Math.round(s) + " s";
  if (s < 3600) return Math.round(s / 60) + " min";
  if (s < 86400) return Math.round(s / 3600) + " h";
  return Math.round(s / 86400) + " d";
}

// Bars: [{label, title, value, before, partial}], the newest last.
function chart(place, bars) {
  const top = Math.max(0, ...bars.map((bar) => Math.max(bar.value || 0, bar.before || 0)));
  const every = Math.ceil(bars.length / (place.clientWidth < 500 ? 4 : 8));
  const height = (value) => (top > 0 ? Math.max(0, (100 * (value || 0)) / top) : 0) + "%";
  const columns = bars.map((bar, position) => {
    const column = element("div", undefined, bar.partial ? "column partial" : "column");
    column.title = bar.title;
    const plot = element("div", undefined, "plot");
    if (bar.before !== undefined) {
      const before = element("div", undefined, "before");
      before.style.height = height(bar.before);
      plot.append(before);
    }
    const drawn = element("div", undefined, "bar");
    drawn.style.height = height(bar.value);
    plot.append(drawn);
    column.append(plot, element("small", position % every === 0 ? bar.label : ""));
    return column;
  });
  place.replaceChildren(...columns);
  place.setAttribute("role", "img");
  const last = bars[bars.length - 1];
  place.setAttribute("aria-label", last ? `${bars.length} bars, the highest ${money(top)}; the last: ${last.title}` : "no bars");
  return top;
}

function table(place, heads, rows) {
  const head = element("tr");
  head.append(...heads.map((text) => element("th", text)));
  const lines = rows.map((cells) => {
    const line = element("tr");
    line.append(...cells.map((text) => element("td", text)));
    return line;
  });
  place.replaceChildren(head, ...lines);
}

const panels = {
  hourly_sales(section, rows) {
    const bars = rows.map((row) => {
      const at = minute(row.hour * 1000);
      const title = `${at}: ${count(row.sales)}${row.partial ? " so far" : ""}, ${count(row.orders)} orders; the day before ${count(row.previous)}`;
      return { label: at, title, value: row.sales, before: row.previous, partial: row.partial };
    });
    const top = chart(section.querySelector(".chart"), bars);
    const sum = rows.reduce((sum, row) => sum + (row.sales || 0), 0);
    const last = rows[rows.length - 1];
    const current = last && last.partial ? `; this hour so far ${money(last.sales)}` : "";
    return `Total ${money(sum)}, highest hour ${money(top)}${current}. Wide and pale: the same hour of the day before.`;
  },
  top_categories(section, rows) {
    table(section.querySelector("table"), ["category", "amount", "items", "share"],
      rows.slice(0, 12).map((row) => [row.category ?? "?", money(row.amount), count(row.quantity), percent(row.share)]));
    return rows.length > 12 ? `and ${rows.length - 12} more` : "";
  },
  rfm_segments(section, rows) {
    table(section.querySelector("table"), ["segment", "users", "value", "value per user", "last order"],
      rows.slice(0, 12).map((row) => [row.segment ?? "?", count(row.users), money(row.value), money(row.ltv), duration(row.recency_s)]));
    return "";
  },
};

function showPanel(told) {
  const section = byId(told.name);
  const show = panels[told.name];
  if (!section || !show) return;
  const note = section.querySelector(".note");
  section.querySelector("h2").firstChild.textContent = told.title + " ";
  if (told.rows === null) {
    // Rows that were there stay, marked as old.
    note.textContent = told.reason ?? "no answer";
  } else if (told.rows.length === 0) {
    section.querySelectorAll(".chart, table").forEach((place) => place.replaceChildren());
    note.textContent = "no rows";
  } else {
    note.textContent = show(section, told.rows) + (told.left_out ? ` (${told.left_out} rows are not shown)` : "");
  }
  if (known(told.at)) ages[told.name] = { at: told.at, current: told.rows !== null };
  showAges();
}

function showWindow(told) {
  windows.set(told.window_start, told);
  const starts = [...windows.keys()].sort((a, b) => a - b);
  for (const start of starts.splice(0, Math.max(0, starts.length - WINDOWS))) windows.delete(start);
  const shown = starts.map((start) => windows.get(start));
  const section = byId("stream");
  section.hidden = false;
  const bars = shown.map((one) => {
    const at = minute(one.window_start * 1000);
    const state = one.revised ? ", changed after it was final" : one.final ? ", final" : ", still open";
    return { label: at, title: `${at}: ${count(one.amount)}, ${count(one.quantity)} items${state}`, value: one.amount, partial: !one.final };
  });
  const top = chart(section.querySelector(".chart"), bars);
  const last = shown[shown.length - 1];
  const most = last.categories.slice(0, 3).map((one) => `${one.category} ${money(one.amount)}`);
  section.querySelector(".note").textContent =
    `${minute(last.window_start * 1000)}${last.final ? "" : " so far"}: ${count(last.amount)}, ${count(last.quantity)} items; ${most.join(", ")}.`
    + ` Highest minute ${money(top)}. Dashed: not final.`;
  ages.stream_windows = { at: known(told.changed_at) ? told.changed_at * 1000 : now(), current: true };
  showAges();
}

function showGauges(told) {
  const made = told.gauges.map((gauge) => {
    const item = element("li");
    item.dataset.health = gauge.health;
    item.append(element("span", gauge.name, "name"), element("b", gauge.health === "unknown" ? "?" : gauge.text),
      element("span", gauge.health, "word"));
    if (gauge.target_text) item.append(element("span", `target ${gauge.target_text}`, "target"));
    return item;
  });
  byId("gauges").replaceChildren(...made);
}

function showCause(told) {
  const place = byId("cause");
  place.dataset.health = told.health;
  place.textContent = told.sentence || "not measured yet";
  if (told.others) place.append(` (and ${told.others} more)`);
  if (told.cure) place.append(element("span", told.cure));
}

function showState(told) {
  const { target, version } = told.server;
  byId("server").textContent = target + (version ? ` · PostgreSQL ${version}` : "");
  document.title = `htap-top · ${target}`;
  why = told.why;
  showLink();
}

function takeTime(told) {
  offset = told.now - Date.now();
  for (const [name, { age_s, current }] of Object.entries(told.panels)) {
    if (known(age_s) && name !== "stream_windows") ages[name] = { at: told.now - age_s * 1000, current };
    else if (ages[name]) ages[name].current = current;
  }
  showAges();
}

function showAges() {
  for (const [name, { at, current }] of Object.entries(ages)) {
    const section = byId(name === "stream_windows" ? "stream" : name);
    if (!section) continue;
    const old = !current || lost !== null;
    section.classList.toggle("stale", old);
    const age = duration((now() - at) / 1000);
    const changed = name === "stream_windows" ? "changed" : "as of";
    section.querySelector(".age").textContent =
      old ? `· old: ${changed} ${clock(at)}, ${age} ago` : `· ${changed} ${clock(at)}${changed === "changed" ? `, ${age} ago` : ""}`;
  }
}

function showLink() {
  const place = byId("link");
  if (lost !== null) {
    place.textContent = `connection lost at ${clock(lost)}, ${duration((Date.now() - lost) / 1000)} ago: all figures are old`;
    place.dataset.health = "danger";
  } else if (why !== null) {
    place.textContent = why;
    place.dataset.health = "danger";
  } else if (heard > 0) {
    place.textContent = "live";
    place.dataset.health = "good";
  }
  byId("gauges").classList.toggle("stale", lost !== null);
  byId("cause").classList.toggle("stale", lost !== null);
}

function listen() {
  clearTimeout(retry);
  if (source) source.close();
  source = new EventSource("/live");
  const on = (name, show) => source.addEventListener(name, (event) => {
    heard = Date.now();
    lost = null;
    byId("figures").hidden = false;
    byId("login").hidden = true;
    show(JSON.parse(event.data));
    showLink();
  });
  on("state", showState);
  on("gauges", showGauges);
  on("cause", showCause);
  on("panel", showPanel);
  on("window", showWindow);
  on("time", takeTime);
  source.onerror = () => {
    lose();
    // The browser tries again by itself unless the answer was no stream.
    if (source.readyState === EventSource.CLOSED) ask();
  };
}

function lose() {
  if (heard > 0 && lost === null) lost = heard;
  showLink();
  showAges();
}

// Why was the stream refused?
async function ask() {
  const answer = await fetch("/health", { cache: "no-store" }).catch(() => null);
  if (answer && answer.status === 401) {
    byId("login").hidden = false;
    byId("link").textContent = "a token is needed";
    byId("token").focus();
    return;
  }
  if (heard === 0) byId("link").textContent = answer ? "no room: too many readers; trying again" : "no connection; trying again";
  retry = setTimeout(listen, RETRY_MS);
}

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = byId("token").value.trim();
  let answer = null;
  try {
    answer = await fetch("/login", { headers: { Authorization: `Bearer ${token}` }, cache: "no-store" });
  } catch {
    // No connection, or a token that no header can hold.
  }
  byId("refused").textContent = !answer ? "no answer" : answer.ok ? "" : "this is not the token";
  if (answer && answer.ok) {
    byId("token").value = "";
    listen();
  }
});

setInterval(() => {
  // A connection may be gone without anybody saying so.
  if (source && heard > 0 && Date.now() - heard > SILENT_MS) {
    lose();
    if (Date.now() - heard > 2 * SILENT_MS) {
      heard = Date.now() - SILENT_MS;
      listen();
    }
  }
  showLink();
  showAges();
}, 1000);

listen();
