// Questions to the server.

/** An answer that is an error, with the server's message. */
export class NoAnswer extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** The answer to a question, such as `ask("groups", { run, step })`. */
export async function ask(path, parameters = {}) {
  const url = new URL(`/api/${path}`, location.origin);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new NoAnswer("no_server", "The server does not answer. Is `rlar view` still running?");
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  throw new NoAnswer(answer?.error?.code ?? "unknown", answer?.error?.message ?? `the server answered ${response.status}`);
}

/**
 * Calls `changed` with the names of runs that have grown (null: perhaps all), and `live` whenever the connection comes or
 * goes.
 */
export function listen(changed, live) {
  let events = null;
  let wasLost = false;
  const open = () => {
    events = new EventSource("/api/growth");
    events.addEventListener("open", () => {
      live(true);
      if (wasLost) changed(null);
      wasLost = false;
    });
    events.addEventListener("error", () => {
      live(false);
      wasLost = true;
    });
    events.addEventListener("growth", (event) => changed(JSON.parse(event.data).runs));
    events.addEventListener("behind", () => changed(null));
  };
  // Browsers open at most six HTTP/1.1 connections per host: a hidden tab closes its event stream.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && events === null) open();
    else if (document.hidden && events !== null) {
      events.close();
      events = null;
      wasLost = true;
    }
  });
  if (document.hidden) wasLost = true;
  else open();
}
