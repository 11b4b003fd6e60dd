/** Where the address leads: `#/incidents/ID`, `#/jobs/ID` and `#/nodes/HOST` are pages of their own, everything else is the overview. */

const PAGES = { incidents: "incident", jobs: "job", nodes: "node" };
const ADDRESS = /^#\/(incidents|jobs|nodes)\/([^/?#]+)\/?(?:\?at=(\d+))?$/;

/** @returns {{page: "incident"|"job"|"node"|"overview", id: string|null, at: number|null}} `at` in ms, of a node's page */
export function route(hash = location.hash) {
  const found = ADDRESS.exec(hash);
  if (!found) return { page: "overview", id: null, at: null };
  return { page: PAGES[found[1]], id: decoded(found[2]), at: found[3] ? Number(found[3]) : null };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    // A percent sign that begins no escape: nothing is called so, and the page says that there is none.
    return text;
  }
}

export const incidentAddress = (id) => `#/incidents/${encodeURIComponent(id)}`;

export const jobAddress = (id) => `#/jobs/${encodeURIComponent(id)}`;

/** The page of a host, around a time (ms) or, without one, now. */
export const nodeAddress = (host, at = null) => `#/nodes/${encodeURIComponent(host)}${at === null ? "" : `?at=${Math.round(at)}`}`;
