/** Where the address leads: `#/incidents/ID` is a page of its own, everything else the overview. */

const INCIDENT = /^#\/incidents\/([^/?#]+)\/?$/;

/** @returns {{page: "incident"|"overview", id: string|null}} */
export function route(hash = location.hash) {
  const found = INCIDENT.exec(hash);
  if (!found) return { page: "overview", id: null };
  try {
    return { page: "incident", id: decodeURIComponent(found[1]) };
  } catch {
    // A percent sign that begins no escape: no incident is called so, and the page says that there is none.
    return { page: "incident", id: found[1] };
  }
}

export const incidentAddress = (id) => `#/incidents/${encodeURIComponent(id)}`;
