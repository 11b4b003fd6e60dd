/** The page: logs in, reads once, then follows the event stream. */

import { ApiError, getAll, getJson } from "./api.js";
import { Detail } from "./detail.js";
import { byId, el, setText } from "./dom.js";
import { ago, clock, count, duration, fromNs, toNs } from "./format.js";
import { IncidentPage } from "./incident_page.js";
import { incidentList, tickAges } from "./incidents.js";
import { JobPage } from "./job_page.js";
import { SPARK_SPAN, jobList } from "./jobs.js";
import { listen } from "./live.js";
import { NodePage } from "./node_page.js";
import { route } from "./route.js";
import { askForToken, logIn, logOut, takeCode, whoAmI } from "./session.js";
import { State, size } from "./state.js";

/** How often lateness is read, ms; it comes in windows of about a second and is no stream. */
const READ_EVERY = 2000;
/** How often everything is read again, ms, in case an event was lost. */
const READ_ALL_EVERY = 60_000;
/** Silence after which the page says that it may be out of date, ms. */
const STALE_AFTER = 15_000;
const RESOLVED_SHOWN = 10;
const SPARKS = 30;

const state = new State();
const selected = { id: null, byHand: false };
let detail = null;
let page = null;
let nodePage = null;
let jobPage = null;
let drawOpen = null;
let drawClosed = null;
let drawJobs = null;
let stream = null;
let link = { word: "connecting", next: null };
let lastHeard = Date.now();
let planned = false;
let again = null;

const heard = () => {
  lastHeard = Date.now();
};

/** Draw soon, once, however many events came. A hidden page draws when it is looked at. */
function draw() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    const open = state.openIncidents();
    drawOpen(open);
    drawClosed(state.closedIncidents(RESOLVED_SHOWN));
    byId("no-resolved").hidden = state.closedIncidents(1).length > 0;
    setText(byId("incidents-title"), open.length ? `${count(open.length, "open incident")}` : "Open incidents");
    byId("calm").hidden = open.length > 0;
    setText(byId("calm"), calmWords());
    if (onOverview()) document.title = open.length ? `(${open.length}) Offbeat` : "Offbeat";
    byId("no-jobs").hidden = state.jobs.size > 0;
    drawJobs(selected);
    if (onOverview()) detail.draw();
    tick();
  });
}

function calmWords() {
  const alive = [...state.jobs.values()].filter((job) => job.state !== "ended");
  if (!alive.length) return "None. No job is running now.";
  const learning = alive.filter((job) => job.state === "learning").length;
  const ranks = alive.reduce((sum, job) => sum + job.world, 0);
  const hosts = alive.reduce((sum, job) => sum + size(job.hosts), 0);
  return `None. Watching ${count(ranks, "rank")} on ${count(hosts, "host")} in ${count(alive.length, "job")}${learning ? `; ${learning === alive.length ? "the" : "a"} beat is still being learned` : ""}.`;
}

/** Once a second: ages, the state of the connection, the moving edge of the map. */
function tick() {
  const now = Date.now();
  tickAges(now);
  const words = { live: "live", connecting: "connecting", waiting: link.next ? `reconnecting in ${duration(Math.max(0, Math.ceil((link.next - now) / 1000) * 1000)).replace(".0", "")}` : "reconnecting" };
  byId("link").dataset.state = link.word;
  setText(byId("link-word"), words[link.word]);
  setText(byId("updated"), `last update ${ago(lastHeard, now)}`);
  byId("updated").title = clock(lastHeard);
  const stale = now - lastHeard > STALE_AFTER;
  byId("stale").hidden = !stale;
  if (stale && !byId("stale").textContent) setText(byId("stale"), `Nothing was heard from the service since ${clock(lastHeard)}. What you see may be out of date.`);
  if (!stale) setText(byId("stale"), "");
}

function select(id, at = null) {
  selected.id = id;
  selected.byHand = true;
  history.replaceState(null, "", `#job=${encodeURIComponent(id)}`);
  detail.select(id, at).then(draw);
  draw();
}

/** Until a person chooses, the page shows the job most in need of a look. */
function choose() {
  const best = state.sortedJobs()[0];
  if (!best || (selected.id && state.jobs.has(selected.id) && (selected.byHand || selected.id === best.id))) return;
  selected.id = best.id;
  detail.select(best.id).then(draw);
}

function showIncident(incident) {
  select(incident.job, fromNs(incident.finding.started_at ?? incident.opened_at));
  byId("detail").scrollIntoView({ block: "start" });
  byId("map").focus({ preventScroll: true });
}

/** From an incident's own page to its job on the overview. */
function showOnMap(incident) {
  location.hash = "#";
  go().then(() => showIncident(incident));
}

function takeIncident(incident) {
  state.setIncident(incident);
  heard();
  page.update(incident);
  guarded(() => Promise.all(accusedJobs().map(readRanks)).then(draw));
  choose();
  draw();
}

/** Where an alert leads: its incident, however old, and its job at that time. */
async function openIncident(id) {
  const incident = state.incidents.get(id) ?? (await getJson(`/incidents/${encodeURIComponent(id)}`));
  state.asked = id;
  state.incidents.set(id, incident);
  if (state.jobs.has(incident.job)) select(incident.job, fromNs(incident.finding.started_at ?? incident.opened_at));
  draw();
  requestAnimationFrame(() => byId(`incident-${id}`)?.focus());
}

/** Show what the address asks for: the page of an incident, host or job, or the overview. */
async function go() {
  const { page: name, id, at } = route();
  byId("board").hidden = name !== "overview";
  const job = new URLSearchParams(location.hash.slice(1)).get("job");
  if (name === "overview" && state.jobs.has(job) && job !== selected.id) select(job);
  const opened = [page.open(name === "incident" ? id : null), nodePage.open(name === "node" ? id : null, at), jobPage.open(name === "job" ? id : null)];
  draw();
  await Promise.all(opened);
}

const onOverview = () => page.id === null && nodePage.id === null && jobPage.id === null;

async function readAll() {
  state.reading();
  const [jobs, open, closed] = await Promise.all([
    getAll("/jobs"),
    getAll("/incidents?state=open&state=acknowledged&state=recovering"),
    getJson("/incidents?state=resolved&state=recovered"),
  ]);
  state.setJobs(jobs);
  state.setIncidents([...closed.items, ...open]);
  heard();
  // Its change may be among the events that were lost.
  if (state.incidents.has(page.id)) page.update(state.incidents.get(page.id));
  choose();
  await Promise.all([...state.sortedJobs().slice(0, SPARKS).map(readSpark), ...accusedJobs().map(readRanks)]);
  if (!jobs.length) await drawNoJobs();
  draw();
}

async function readSpark(job) {
  const { items } = await getJson(`/jobs/${encodeURIComponent(job.id)}/beat?since=${toNs(Date.now() - SPARK_SPAN)}`);
  state.addBeats(job.id, items);
}

/** Jobs with an open incident of which it is not known where all their ranks run. */
const accusedJobs = () => [...new Set(state.openIncidents().map((incident) => incident.job))].filter((job) => state.jobs.has(job) && !state.placed(job));

async function readRanks(job) {
  const { ranks } = await getJson(`/jobs/${encodeURIComponent(job)}`);
  state.setRanks(job, ranks);
}

async function drawNoJobs() {
  const nodes = await getAll("/nodes").catch(() => []);
  const box = byId("no-jobs");
  if (!nodes.length) {
    box.replaceChildren(el("p", { text: "No agent has reported yet. On each host of a training job, start one:" }), el("pre", { text: `offbeat token create --role agent --host HOST\nOFFBEAT_URL=${location.origin} OFFBEAT_HOST=HOST OFFBEAT_TOKEN=… offbeat agent` }));
    return;
  }
  box.replaceChildren(
    el("p", { text: `${count(nodes.length, "agent")} ${nodes.length === 1 ? "reports" : "report"}, and no training job yet. Start one with:` }),
    el("pre", { text: "python -m offbeat.run train.py" }),
    el("p", { text: "or call offbeat.record() in the script." }),
  );
}

/** Do something with the service; a lost session leads to the login form. Returns whether it was done. */
async function guarded(work) {
  try {
    await work();
    return true;
  } catch (problem) {
    if (!(problem instanceof ApiError)) throw problem;
    if (problem.status === 401) await begin(await askForToken("Your session has ended. Log in again."));
    return problem.status === 401;
  }
}

/** Read everything, and again soon where that failed. */
async function refresh() {
  clearTimeout(again);
  if (!(await guarded(readAll))) again = setTimeout(refresh, READ_EVERY * 2);
}

function follow() {
  stream?.close();
  stream = listen(
    {
      incident: takeIncident,
      job: (job) => {
        // A new attempt may run its ranks elsewhere.
        if (state.setJob(job)) guarded(() => readRanks(job.id).then(draw));
        heard();
        choose();
        draw();
      },
      beat: ({ job, ...point }) => {
        state.addBeats(job, [point]);
        heard();
        draw();
      },
    },
    (word, next) => {
      const back = word === "live" && link.word !== "live";
      link = { word, next };
      tick();
      if (back) refresh();
    },
  );
}

async function begin(session) {
  state.role = session?.role ?? null;
  setText(byId("who"), state.role ? `logged in as ${state.role}` : "");
  byId("logout").hidden = false;
  byId("link").hidden = false;
  byId("login").hidden = true;
  const tools = { mayAct: () => state.mayAct, hostOf: (job, rank) => state.hostOf(job, rank), show: showIncident, changed: takeIncident };
  drawOpen ??= incidentList(byId("open"), "h2", tools);
  drawClosed ??= incidentList(byId("closed"), "h3", tools);
  drawJobs ??= jobList(byId("jobs"), state, select);
  detail ??= new Detail(state, heard);
  jobPage ??= new JobPage(byId("job"), { state, guarded });
  nodePage ??= new NodePage(byId("node"), { state, guarded });
  page ??= new IncidentPage(byId("incident"), { state, changed: takeIncident, show: showOnMap, guarded });
  const asked = new URLSearchParams(location.hash.slice(1));
  const shown = go();
  follow();
  await Promise.all([refresh(), shown]);
  if (asked.get("job") && state.jobs.has(asked.get("job"))) select(asked.get("job"));
  if (asked.get("incident")) await guarded(() => openIncident(asked.get("incident")));
}

/** Log in by code or cookie; while the service is away, wait for it. */
async function enter(code) {
  for (;;) {
    try {
      return { session: code === null ? await whoAmI() : await logIn({ code }), message: null };
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      if (problem.status > 0 && problem.status < 500) {
        if (code === null) return { session: null, message: problem.message };
        const session = await whoAmI().catch(() => null);
        return { session, message: "This address was used before, or is too old. Run offbeat up again for a new one, or paste a token." };
      }
      setText(byId("stale"), `The service cannot be reached (${problem.message}). Is offbeat up running? Trying again.`);
      byId("stale").hidden = false;
      await new Promise((resolve) => setTimeout(resolve, READ_EVERY));
    }
  }
}

async function start() {
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("main").focus();
  });
  byId("logout").addEventListener("click", async () => {
    stream?.close();
    await logOut().catch(() => null);
    location.reload();
  });
  // Before anything is read: a person may go elsewhere meanwhile. Whoever has to log in goes there afterwards.
  window.addEventListener("hashchange", () => page !== null && byId("login").hidden && go());
  const { session, message } = await enter(takeCode());
  await begin(session ?? (await askForToken(message)));
  setInterval(() => {
    tick();
    if (onOverview()) detail.draw();
  }, 1000);
  setInterval(() => !document.hidden && onOverview() && guarded(() => detail.read().then(draw)), READ_EVERY);
  setInterval(() => !document.hidden && guarded(() => page.follow()), READ_EVERY * 5);
  setInterval(() => !document.hidden && nodePage.follows && guarded(() => nodePage.read()), READ_EVERY * 5);
  setInterval(() => !document.hidden && jobPage.follows && guarded(() => jobPage.read()), READ_EVERY * 5);
  setInterval(() => refresh(), READ_ALL_EVERY);
  document.addEventListener("visibilitychange", () => !document.hidden && refresh());
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    draw();
    page.redraw();
    nodePage.redraw();
  });
  new ResizeObserver(draw).observe(byId("detail"));
}

start();
