// Where the page is: the part of the address after `#`, such as `#/rollouts?run=one&step=10`. Every view has its own
// address, so that it can be sent to someone, and the browser's back button works.

/** The view and its parameters. */
export function current() {
  const [view, query] = location.hash.replace(/^#\/?/, "").split("?");
  const parameters = new URLSearchParams(query ?? "");
  return { view: view || "overview", parameters, runs: parameters.getAll("run") };
}

/** The address of a view with some runs and parameters; null is left out. */
export function address(view, runs, parameters = {}) {
  const query = new URLSearchParams();
  for (const run of runs) query.append("run", run);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return `#/${view}${text === "" ? "" : `?${text}`}`;
}

/** Goes to a view. */
export function go(view, runs, parameters) {
  location.hash = address(view, runs, parameters);
}
