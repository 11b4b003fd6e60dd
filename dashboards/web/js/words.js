/** Fault classes, advice and states in words for people. The classes are those of `offbeat.model`, all of them. */

import { ranks } from "./format.js";

export const FAULTS = {
  "hang.not_entered": ["Hang: a rank never came", "Everybody waits in a collective that these ranks did not enter."],
  "hang.in_transport": ["Hang: nothing moves", "All ranks entered the collective, and its transfers stand still."],
  "hang.mismatch": ["Hang: ranks disagree", "These ranks called a different collective, size or type than the rest."],
  "lost.rank": ["Rank lost", "The process is gone."],
  "lost.host": ["Host lost", "The host is silent, and a second witness says it is gone."],
  "slow.compute": ["Slow computation", "Between collectives, these ranks take longer than ranks of the same role."],
  "slow.send": ["Slow sending", "What leaves this place takes longer than it did."],
  "slow.receive": ["Slow receiving", "What arrives at this place takes longer than it did."],
  "slow.link": ["Slow link", "One path is slower than it was and than the others."],
  "slow.fabric": ["Slow fabric", "Many paths that share a switch or rail are slow together."],
  "slow.mixed": ["Slow computation and network", "Both computing and communication are slow at one place."],
  "slow.uniform": ["Whole job slower", "The job is slower than its own past, and no part stands out."],
  "workload.stage_imbalance": ["Uneven stages", "One pipeline stage has more to do than the others. No hardware is at fault."],
  "workload.sequence_imbalance": ["Uneven sequences", "Long sequences make a different rank slow each time. No hardware is at fault."],
  "workload.input_stall": ["Waiting for input", "Ranks wait for their data loader. No hardware is at fault."],
  "workload.pause": ["Pause", "All ranks pause together: checkpoint, evaluation or garbage collection."],
  "workload.error": ["Program failed", "The training program ended by its own error."],
  "device.xid": ["GPU error (XID)", "The GPU driver reported an error."],
  "device.ecc": ["GPU memory error (ECC)", "The GPU reported memory errors."],
  "device.thermal": ["Too hot", "The device slows itself down because of its temperature."],
  "device.power": ["Power limit", "The device is held back by its power limit."],
  "device.pcie": ["PCIe fault", "The device's PCIe link is narrower, slower or failing."],
  "device.nvlink": ["NVLink fault", "An NVLink reports errors or is down."],
  "device.nic": ["Network adapter fault", "A network adapter is down, flapping or counting errors."],
  "device.memory": ["Host memory fault", "The host's memory reports errors."],
  "device.disk": ["Disk fault", "A disk reports errors or is full."],
  "telemetry.lost": ["Telemetry lost", "An agent or feed went silent while the job goes on. Nobody is blamed."],
  "corruption.replica": ["Replicas differ", "State that must be identical on these ranks is not."],
};

export const ACTIONS = {
  isolate_host: "Take the host out of service",
  restart_job: "Restart the job",
  fix_workload: "Fix the training program",
  inspect: "Look closer",
  none: "Nothing to do",
};

export const SEVERITIES = { critical: "critical", warning: "warning", info: "info" };

const JOB_STATES = { learning: "learning the beat", running: "on the beat", stalled: "stalled", ended: "ended" };

/** How a job stands; one that runs with an open finding is not on the beat. */
export const jobState = (job, open) => (job.state === "running" && open.some((incident) => incident.severity !== "info") ? "off the beat" : (JOB_STATES[job.state] ?? job.state));

export const faultTitle = (name) => (FAULTS[name] ?? [name])[0];
export const faultMeaning = (name) => (FAULTS[name] ?? [null, null])[1];

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
