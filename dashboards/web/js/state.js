/** What the page knows: jobs, incidents and beats as last heard. Views read it; only this module changes it. */

import { fromNs } from "./format.js";

/** Points of beat kept a job; a job of 50 ms iterations makes 24,000 in 20 minutes. */
const BEATS_KEPT = 50_000;
const OPEN = new Set(["open", "acknowledged", "recovering"]);
const WEIGHT = { critical: 0, warning: 1, info: 2 };
const ORDER = { stalled: 0, running: 1, learning: 1, ended: 2 };

export class State {
  constructor() {
    this.jobs = new Map();
    this.incidents = new Map();
    /** job id → {at: number[], seconds: number[]}, ascending. */
    this.beats = new Map();
    this.role = null;
    /** job id → rank → host. */
    this.hosts = new Map();
    /** Incidents heard of since `reading`: newer than the list being read meanwhile. */
    this.fresh = new Map();
    /** The incident that an alert's link asked for: shown however old it is. */
    this.asked = null;
  }

  /** Take a job's own page of the API: where its ranks run. */
  setRanks(job, ranks) {
    this.hosts.set(job, new Map(ranks.map(({ rank, host }) => [rank, host])));
  }

  /** Whether the hosts of all ranks of a job are known; those of a job that just starts come one by one. */
  placed(job) {
    const hosts = this.hosts.get(job);
    return hosts !== undefined && hosts.size >= (this.jobs.get(job)?.world ?? 0) && [...hosts.values()].every(Boolean);
  }

  /** The host of a rank, empty where it is not known. */
  hostOf(job, rank) {
    return this.hosts.get(job)?.get(rank) ?? "";
  }

  get mayAct() {
    return this.role === "operator" || this.role === "admin";
  }

  setJobs(items) {
    this.jobs = new Map(items.map((job) => [job.id, job]));
  }

  /** Take a job that the event stream brought; returns whether it is new, or started anew. */
  setJob(job) {
    const fresh = this.jobs.get(job.id)?.attempt !== job.attempt;
    this.jobs.set(job.id, job);
    return fresh;
  }

  /** Take an incident that the event stream, or the answer to an order, brought. */
  setIncident(incident) {
    this.incidents.set(incident.id, incident);
    this.fresh.set(incident.id, incident);
  }

  /** Say that a list of incidents is being read. */
  reading() {
    this.fresh.clear();
  }

  setIncidents(items) {
    const kept = this.asked === null ? [] : [this.incidents.get(this.asked)].filter(Boolean);
    this.incidents = new Map([...kept, ...items, ...this.fresh.values()].map((incident) => [incident.id, incident]));
  }

  /** Add points of beat, in any order; points of the same time are one. */
  addBeats(job, items) {
    let beat = this.beats.get(job) ?? { at: [], seconds: [] };
    const points = items.map((item) => [fromNs(item.at), item.iteration_seconds]);
    if (points.length && points[0][0] <= (beat.at.at(-1) ?? -Infinity)) {
      const all = new Map([...beat.at.map((at, i) => [at, beat.seconds[i]]), ...points]);
      points.splice(0, points.length, ...[...all].sort((a, b) => a[0] - b[0]));
      beat = { at: [], seconds: [] };
    }
    for (const [at, seconds] of points) {
      beat.at.push(at);
      beat.seconds.push(seconds);
    }
    if (beat.at.length > BEATS_KEPT) {
      beat.at.splice(0, beat.at.length - BEATS_KEPT);
      beat.seconds.splice(0, beat.seconds.length - BEATS_KEPT);
    }
    this.beats.set(job, beat);
  }

  /** Forget a job's beat, to read a longer stretch of it. */
  dropBeats(job) {
    this.beats.delete(job);
  }

  openIncidents() {
    return [...this.incidents.values()]
      .filter((incident) => OPEN.has(incident.state))
      .sort((a, b) => WEIGHT[a.severity] - WEIGHT[b.severity] || b.opened_at - a.opened_at);
  }

  closedIncidents(most) {
    return [...this.incidents.values()]
      .filter((incident) => !OPEN.has(incident.state))
      .sort((a, b) => (b.ended_at ?? b.opened_at) - (a.ended_at ?? a.opened_at))
      .filter((incident, place) => place < most || incident.id === this.asked);
  }

  incidentsOf(job) {
    return [...this.incidents.values()].filter((incident) => incident.job === job);
  }

  openOf(job) {
    return this.incidentsOf(job).filter((incident) => OPEN.has(incident.state));
  }

  sortedJobs() {
    return [...this.jobs.values()].sort(
      (a, b) => this.openOf(b.id).length - this.openOf(a.id).length || (ORDER[a.state] ?? 1) - (ORDER[b.state] ?? 1) || b.last_seen - a.last_seen,
    );
  }
}

/** Numbers that the API may give as a count or as the list itself. */
export const size = (value) => (Array.isArray(value) ? value.length : (value ?? 0));
