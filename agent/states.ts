// The states of a computation as a table (design §4, wire.md §4.1). Pure: effects are elsewhere, and
// an event that no row takes is refused to whoever caused it, never fatal (threats R6, C-7).

/** States; the words go on the wire as they are. */
export const STATES = [
  "Idle",
  "ReceivingManifest",
  "ReceivingAlgorithm",
  "ReceivingData",
  "Running",
  "ConsumingResults",
  "Complete",
  "Failed",
] as const;

/** A state. */
export type State = (typeof STATES)[number];

/** What can happen to a computation. */
export const EVENTS = [
  "Start",
  "ManifestReceived",
  "AlgorithmReceived",
  "DataReceived",
  "RunComplete",
  "RunFailed",
  "ResultsConsumed",
  "Stop",
] as const;

/** An event. */
export type Event = (typeof EVENTS)[number];

/** What a row may depend on beside state and event. */
export interface Facts {
  /** Whether the manifest declares datasets. */
  readonly datasets: boolean;
}

/** One row: in `from`, `event` leads to `to`, if `when` is absent or equals the fact. */
export interface Row {
  readonly from: State | "any";
  readonly event: Event;
  readonly to: State;
  readonly when?: Facts;
}

/** The whole life of a computation. */
export const TABLE: readonly Row[] = [
  { from: "Idle", event: "Start", to: "ReceivingManifest" },
  { from: "ReceivingManifest", event: "ManifestReceived", to: "ReceivingAlgorithm" },
  {
    from: "ReceivingAlgorithm",
    event: "AlgorithmReceived",
    to: "ReceivingData",
    when: { datasets: true },
  },
  {
    from: "ReceivingAlgorithm",
    event: "AlgorithmReceived",
    to: "Running",
    when: { datasets: false },
  },
  { from: "ReceivingData", event: "DataReceived", to: "Running" },
  { from: "Running", event: "RunComplete", to: "ConsumingResults" },
  { from: "Running", event: "RunFailed", to: "Failed" },
  { from: "ConsumingResults", event: "ResultsConsumed", to: "Complete" },
  { from: "any", event: "Stop", to: "Idle" },
];

/** The state that follows, or `undefined` when the event is not legal here. */
export function next(state: State, event: Event, facts: Facts): State | undefined {
  return TABLE.find((row) =>
    (row.from === state || row.from === "any") && row.event === event &&
    (row.when === undefined || row.when.datasets === facts.datasets)
  )?.to;
}

/** Whether a word is a state; journals come from a disk that may have been written by anybody. */
export function isState(word: unknown): word is State {
  return STATES.some((state) => state === word);
}
