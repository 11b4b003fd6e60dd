/** The parts of an incident's page that only show: evidence, cost, victims, history, similar ones, accuracy. */

import { el } from "./dom.js";
import { barsNode } from "./figures.js";
import { count, fromNs, ranks, timeNode, trim } from "./format.js";
import { incidentAddress, nodeAddress } from "./route.js";
import { culprits } from "./words.js";

const HOSTS_SHOWN = 12;
const SIMILAR_SHOWN = 6;
/** Figures of a cost that are told large, and in which words. */
const COSTS = [["gpu_hours", "GPU-hours"], ["gpu_hours_per_hour", "GPU-hours an hour"]];
/** Signs beside the steps of a life: a shape each, so that nothing hangs on a colour. */
const SIGNS = { opened: "●", changed: "◌", acknowledged: "✓", recovering: "↻", recovered: "■", resolved: "■", feedback: "✎" };

/** The evidence that a person can check, each with its figures as bars where they can be compared. */
export function evidenceNodes(finding) {
  const shown = finding.evidence.filter((item) => item.kind !== "cost");
  if (!shown.length) return [el("p", { class: "empty", text: "This finding came without evidence." })];
  return [el("ol", { class: "evidence" }, ...shown.map(evidenceNode))];
}

function evidenceNode({ kind, text, data }) {
  return el("li", {}, el("p", {}, text, el("code", { class: "kind", text: kind })), barsNode(data), figuresNode(data));
}

/** All figures as they are, for who wants to check them elsewhere. */
function figuresNode(data) {
  const figures = Object.entries(data ?? {});
  if (!figures.length) return null;
  const list = el("dl", {}, ...figures.flatMap(([key, value]) => [el("dt", { text: key }), el("dd", { text: figure(value) })]));
  return el("details", {}, el("summary", { text: `Figures (${figures.length})` }), list);
}

function figure(value) {
  if (typeof value === "number") return Number.isInteger(value) ? value.toLocaleString("en") : trim(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** What the fault costs; nothing where no rule worked it out. */
export function costNodes(finding) {
  return finding.evidence
    .filter((item) => item.kind === "cost")
    .map(({ text, data }) => {
      const [name, words] = COSTS.find(([key]) => typeof data?.[key] === "number") ?? [null, null];
      return el("p", {}, name ? el("b", { class: "hours", text: `${trim(data[name])} ${words} ` }) : null, el("span", { text }));
    });
}

/** Who only waits, and where. */
export function victimNodes(finding, hostOf) {
  const waiting = finding.victims.ranks;
  if (!waiting.length) return [el("p", { class: "empty", text: "No other rank is known to wait on it." })];
  const hosts = new Map();
  for (const rank of waiting) if (hostOf(rank)) hosts.set(hostOf(rank), (hosts.get(hostOf(rank)) ?? 0) + 1);
  const named = [...hosts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  return [
    el("p", { text: `${count(waiting.length, "rank")} ${waiting.length === 1 ? "waits" : "wait"} on it and ${waiting.length === 1 ? "is" : "are"} not accused: ${ranks(waiting)}` }),
    named.length
      ? el(
          "ul",
          { class: "hosts" },
          ...named.slice(0, HOSTS_SHOWN).map(([host, n]) => el("li", { text: `${host} (${n})` })),
          named.length > HOSTS_SHOWN ? el("li", { class: "dim", text: `${named.length - HOSTS_SHOWN} more hosts` }) : null,
        )
      : null,
  ].filter(Boolean);
}

/** Links to the accused hosts, at the time of the fault. */
export function hostLinks({ opened_at, finding }, hostOf) {
  const { ranks: accused, hosts, links, devices } = finding.culprits;
  const named = [...hosts, ...devices.map((device) => device.host), ...links.flatMap((link) => [link.src_host, link.dst_host]), ...accused.map(hostOf)];
  const known = [...new Set(named.filter(Boolean))].slice(0, HOSTS_SHOWN);
  const at = fromNs(finding.started_at ?? opened_at);
  return known.length ? ["GPU, network and kernel at that time: ", ...known.flatMap((host, i) => [i ? ", " : "", el("a", { href: nodeAddress(host, at), text: host })])] : [];
}

/** What happened to it, oldest first. */
export const historyNodes = (steps) =>
  steps.map(({ at, kind, who, text }) =>
    el(
      "li",
      { data: { kind } },
      el("span", { class: "sign", "aria-hidden": "true", text: SIGNS[kind] ?? "·" }),
      el("div", {}, el("p", { text }), el("p", { class: "dim" }, timeNode(fromNs(at)), who ? ` by ${who}` : null)),
    ),
  );

/** Others of the class: those at the same place first, then those of the same job, then the latest. */
export function similarNodes(incident, others, hostOf) {
  const near = others
    .filter((other) => other.id !== incident.id)
    .map((other) => ({ other, shared: shared(incident.finding, other.finding), sameJob: other.job === incident.job }))
    .sort((a, b) => b.shared.length - a.shared.length || b.sameJob - a.sameJob || b.other.opened_at - a.other.opened_at)
    .slice(0, SIMILAR_SHOWN);
  return near.map(({ other, shared: same }) =>
    el(
      "li",
      {},
      el("a", { href: incidentAddress(other.id), text: culprits(other.finding, (rank) => hostOf(other.job, rank)).join("; ") || "nobody named" }),
      el("p", { class: "dim" }, `${other.job} · ${other.state} · `, timeNode(fromNs(other.opened_at)), same.length ? el("b", { text: ` · same ${same.join(", ")}` }) : null),
    ),
  );
}

function shared(a, b) {
  const hosts = new Set([...b.culprits.hosts, ...b.culprits.devices.map((device) => device.host)]);
  return [...new Set([...a.culprits.hosts, ...a.culprits.devices.map((device) => device.host)])].filter((host) => hosts.has(host));
}

/** How often people called findings of this class right. */
export function accuracyWords(items, name) {
  const found = items.find((item) => item.class === name);
  if (!found) return "Nobody has judged a finding of this class yet.";
  const all = found.right + found.wrong;
  return `Of ${count(all, "judged finding")} of this class ${found.right} ${found.right === 1 ? "was" : "were"} right (${Math.round((100 * found.right) / all)} %).`;
}
