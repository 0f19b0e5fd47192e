// Defences of an agent that is killed, cut off, out of space or told to forget, one by one.
import type { Mutation } from "./_mutations.ts";

/** The list, by line. */
export const CRASH_MUTATIONS: readonly Mutation[] = [
  {
    line: "C-1",
    removes: "the removal of what was half-made when the agent was killed",
    file: "agent/recovery.ts",
    find: "  keepOnly(job.dir, kept);\n",
    replace: "",
    tests: ["agent/recovery_test.ts"],
  },
  {
    line: "C-2",
    removes: "the wait until the journal's draft is on the disk",
    file: "agent/replace.ts",
    find: "  disk.sync(draft);\n",
    replace: "",
    tests: ["agent/journal_test.ts"],
  },
  {
    line: "C-2",
    removes: "the wait until the journal's name is on the disk",
    file: "agent/replace.ts",
    find: "  disk.syncFolder(folder);\n",
    replace: "",
    tests: ["agent/journal_test.ts"],
  },
  {
    line: "C-3",
    removes: "the lower rank of an algorithm's warnings in the queue",
    file: "agent/outbox.ts",
    find: 'const lossy = message.value.status === "Warning";',
    replace: "const lossy = false;",
    tests: ["agent/outbox_test.ts"],
  },
  {
    line: "C-3",
    removes: "the server's memory of the numbers it had",
    file: "proto/acknowledge.ts",
    find: "    return eventId > last;\n",
    replace: "    return true;\n",
    tests: ["proto/acknowledge_test.ts"],
  },
  {
    line: "F-5",
    removes: "the closed mode of a dataset that was received",
    file: "agent/agent.ts",
    find: "content.file.keep(place, 0o640)",
    replace: "content.file.keep(place, 0o660)",
    tests: ["agent/disk_test.ts"],
  },
  {
    line: "Z-1",
    removes: "the journal's forgetting of arguments and names",
    file: "agent/journal.ts",
    find: "progress: needed(snapshot.state, computation.progress),",
    replace: "progress: computation.progress,",
    tests: ["agent/purge_test.ts"],
  },
  {
    line: "Z-4",
    removes: "the event of a purge that failed",
    file: "agent/agent.ts",
    find: '      telemetry.event("Purge", "Failed");\n',
    replace: "",
    tests: ["agent/purge_test.ts"],
  },
  {
    line: "S-5",
    removes: "the limit on events that the algorithm's output causes",
    file: "agent/telemetry.ts",
    find: "const WARNINGS_PER_SECOND = 5;",
    replace: "const WARNINGS_PER_SECOND = 5_000;",
    tests: ["agent/telemetry_test.ts"],
  },
];
