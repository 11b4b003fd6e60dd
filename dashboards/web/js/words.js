/** Fault classes, advice and states in words for people. Those of the classes are the one table of `offbeat.faults`. */

import table from "../faults.json" with { type: "json" };
import { ranks } from "./format.js";

export const FAULTS = table.classes;
export const ACTIONS = table.actions;

export const SEVERITIES = { critical: "critical", warning: "warning", info: "info" };

const JOB_STATES = { learning: "learning the beat", running: "on the beat", stalled: "stalled", ended: "ended" };

/** How a job stands; one that runs with an open finding is not on the beat. */
export const jobState = (job, open) => (job.state === "running" && open.some((incident) => incident.severity !== "info") ? "off the beat" : (JOB_STATES[job.state] ?? job.state));

export const faultTitle = (name) => FAULTS[name]?.title ?? name;
export const faultMeaning = (name) => FAULTS[name]?.meaning ?? null;
export const faultAdvice = (name) => FAULTS[name]?.advice ?? null;

/** Where the section of the runbook on a class is; anchors are made as `offbeat.faults.anchor` makes them. */
export const runbook = (name) => (FAULTS[name] ? `runbook/${FAULTS[name].runbook}.html#${name.toLowerCase().replace(/[^\w -]/g, "").replaceAll(" ", "-")}` : "runbook/index.html");

const end = (rank, host) => [rank === null || rank === undefined ? null : `rank ${rank}`, host ? `${rank === null || rank === undefined ? "" : "on "}${host}` : null].filter(Boolean).join(" ") || "unknown";

/**
 * The culprits of a finding in a few words each: "rank 5 on node-2", "link node-1 → node-2".
 * @param {Object} finding
 * @param {function(number): string} hostOf for ranks of which the finding says no host; may not know
 */
export function culprits({ culprits: who }, hostOf) {
  const words = [];
  const named = who.hosts.length ? who.hosts : [...new Set(who.ranks.map(hostOf))].filter(Boolean);
  const hosts = named.length ? `${named.length === 1 ? "" : "hosts "}${named.slice(0, 6).join(", ")}${named.length > 6 ? ` and ${named.length - 6} more` : ""}` : "";
  if (who.ranks.length) words.push(`${who.ranks.length === 1 ? "rank" : "ranks"} ${ranks(who.ranks)}${hosts ? ` on ${hosts}` : ""}`);
  else if (hosts && !who.links.length && !who.devices.length) words.push(named.length === 1 ? `host ${hosts}` : hosts);
  for (const link of who.links.slice(0, 4)) words.push(`link ${end(link.src_rank, link.src_host)} → ${end(link.dst_rank, link.dst_host)}`);
  if (who.links.length > 4) words.push(`${who.links.length - 4} more links`);
  for (const device of who.devices) words.push(`${device.kind} ${device.id} on ${device.host}`);
  return words;
}
