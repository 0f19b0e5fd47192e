// The two programs of the guest: entrances, arguments and rights, as the start scripts run them.
import type { Program } from "./_bundle.ts";

const SOCKET = "/run/cocos/runner.sock";
const WORK = "/cocos/work";

/** The front door; init adds the management server to its network list. */
export const AGENT: Program = {
  name: "agent",
  entry: "agent/main.ts",
  args: ["--config", "/run/cocos/agent/environment", "--certs", "/run/cocos/certs"],
  rights: [
    `--allow-net=0.0.0.0:7002,unix:${SOCKET}`,
    `--allow-read=${WORK},/run/cocos/agent,/run/cocos/certs,/run/cocos/evidence,${SOCKET}`,
    `--allow-write=${WORK},/run/cocos/evidence,${SOCKET}`,
    "--ignore-env",
    "--allow-sys=uid",
  ],
};

/** The one that starts the sandbox. */
export const RUNNER: Program = {
  name: "runner",
  entry: "runtimes/main.ts",
  args: [],
  rights: [
    `--allow-net=unix:${SOCKET}`,
    `--allow-read=${WORK},/run/cocos/cgroup,${SOCKET}`,
    `--allow-write=${WORK},/run/cocos/cgroup,${SOCKET}`,
    "--allow-run=/cocos/bin/bwrap",
    "--ignore-env",
  ],
};
