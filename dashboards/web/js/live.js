/** The event stream, kept open: reconnects with growing pauses, and says how it stands. */

import { streamUrl } from "./api.js";

/** First and longest pause between tries, ms; without the growth a restarting service is met by every open page at once. */
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 15_000;

/**
 * Keep the event stream open.
 * @param {Object<string, function(Object)>} handlers event name → what to do with its JSON
 * @param {function(string, number|null)} onState "live" | "waiting" | "connecting", and when the next try is (ms)
 * @returns {{close: function}}
 */
export function listen(handlers, onState) {
  let source = null;
  let timer = null;
  let pause = FIRST_PAUSE;
  let closed = false;

  function open() {
    onState("connecting", null);
    source = new EventSource(streamUrl);
    source.onopen = () => {
      pause = FIRST_PAUSE;
      onState("live", null);
    };
    source.onerror = () => {
      // The browser retries broken streams by itself but gives up on refused ones; one way for both is ours.
      source.close();
      if (closed) return;
      const wait = pause * (0.75 + Math.random() / 2);
      pause = Math.min(pause * 2, LONGEST_PAUSE);
      onState("waiting", Date.now() + wait);
      timer = setTimeout(open, wait);
    };
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
    }
  }

  open();
  return {
    close() {
      closed = true;
      clearTimeout(timer);
      source.close();
    },
  };
}
