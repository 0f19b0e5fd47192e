// manager.ManagerService: the Go manager's methods, texts and log lines over the fleet. Callers are
// whoever reaches the port, or holds a certificate where mutual TLS is on; every field is checked.
import { CocosError, logger, messageOf, Status } from "../base/mod.ts";
import { implement, ManagerService, type ServiceImpl } from "../proto/mod.ts";
import type { Config } from "./config.ts";
import { type Fleet, tookLine } from "./fleet.ts";
import { Counters, type Method } from "./http.ts";
import { Policies } from "./policies.ts";
import { readRequest } from "./request.ts";

const log = logger("manager");

/** Longest part of a caller's id that is repeated in a text or a log line. */
const MAX_ID = 64;

/** The service over a fleet. */
export function managerService(
  fleet: Pick<Fleet, "create" | "remove" | "has" | "launch">,
  config: Config,
  counters = new Counters(),
): ServiceImpl {
  const policies = new Policies();
  const logged = async <T>(method: Method, what: () => string, work: () => Promise<T>) => {
    const started = performance.now();
    const done = (error?: unknown) => {
      const ms = performance.now() - started;
      counters.add(method, ms, error === undefined);
      return tookLine(what(), ms, error);
    };
    try {
      const result = await work();
      log.info`${done()}`;
      return result;
    } catch (error) {
      log.warn`${done(error)}`;
      throw asAnswer(error);
    }
  };
  return implement(ManagerService, {
    async createVm(request) {
      let [id, port] = ["", ""];
      return await logged(
        "CreateVM",
        () => `Method CreateVM for id ${id} on port ${port}`,
        async () => {
          const checked = readRequest(request, config.management.endpoint);
          const vm = await fleet.create(checked);
          [id, port] = [vm.id, String(vm.port)];
          return { cvmId: id, forwardedPort: port };
        },
      );
    },
    async removeVm({ cvmId }) {
      return await logged("RemoveVM", () => `Method RemoveVM for vm ${shown(cvmId)}`, async () => {
        await fleet.remove(cvmId);
        return {};
      });
    },
    async cVMInfo({ id }) {
      return await logged(
        "ReturnCVMInfo",
        () => "Method ReturnCVMInfo for computation",
        () =>
          Promise.resolve({
            id,
            ovmfVersion: config.ovmfVersion,
            cpuNum: config.template.smp.count,
            cpuType: config.template.cpu,
            eosVersion: config.eosVersion,
          }),
      );
    },
    async attestationPolicy({ id }) {
      return await logged(
        "FetchAttestation",
        () => `Method FetchAttestation  for computation ${shown(id)}`,
        async () => {
          if (!fleet.has(id)) {
            throw new CocosError("not-found", `computationId ${shown(id)} not found`, {
              status: Status.UNKNOWN,
            });
          }
          return { id, info: await policies.of(id, fleet.launch(id)) };
        },
      );
    },
  });
}

/** An error that is ours goes out as it is; any other says what failed, without our folders. */
function asAnswer(error: unknown): CocosError {
  if (error instanceof CocosError) return error;
  return new CocosError("io", `the VM could not be handled: ${systemText(messageOf(error))}`, {
    cause: error,
  });
}

/** Text of an operating-system error without the paths of this host (threats R7). */
function systemText(text: string): string {
  return text.replaceAll(/\/[^\s:'"]+/g, "<path>").slice(0, 200);
}

function shown(id: string): string {
  return id.slice(0, MAX_ID).replaceAll(/[^A-Za-z0-9._-]/g, "?");
}
