// Rows of containers: a trivial image in the distribution's own engine, which is started for it.
import { startEngine } from "../_engine.ts";
import { House } from "../_house.ts";
import { timed } from "./_measure.ts";
import { type Row, sendAlgorithm } from "./_rows.ts";
import { scene, work } from "./_scene.ts";

const BIN = "#!/bin/sh\necho 1 >results/one\n";

/** One run of a trivial container; `what` of it is measured, in milliseconds. */
function trivial(what: "upload to ready" | "whole run"): Row["run"] {
  return async (maker, peers) => {
    await using house = await House.open("bench-engine");
    const engine = await startEngine(house);
    if (typeof engine === "string") throw new Error(engine);
    await using _ = engine;
    await using job = await work({ name: "algo.tar", text: "" });
    await engine.pack(job.algorithm, await house.write("one.sh", BIN));
    await using target = await scene(maker, job, peers, ["--docker", engine.socket]);
    const ready = target.ready();
    const ms = await timed(async () => {
      await sendAlgorithm(target, job, "docker");
      await ready;
    });
    if (what === "upload to ready") return ms;
    const ended = await target.line((line) => line.includes('"job ended"'));
    return (JSON.parse(ended) as { wallMs: number }).wallMs;
  };
}

/** The rows. */
export const DOCKER_ROWS: readonly Row[] = [
  {
    id: "docker",
    title: "docker: upload → results ready",
    unit: "ms",
    aim: 1_000,
    makers: ["ours"],
    run: trivial("upload to ready"),
  },
  {
    id: "docker-run",
    title: "docker: image checked, loaded, run, all of it removed",
    unit: "ms",
    aim: 500,
    makers: ["ours"],
    run: trivial("whole run"),
  },
];
