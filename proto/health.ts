// The standard gRPC health service: it reveals serving or not, nothing else (threats G-16).
import { CocosError } from "../base/mod.ts";
import { Health, HealthCheckResponse_ServingStatus as Serving } from "./gen/health_pb.ts";
import type { ServiceImpl } from "./rpc.ts";

/** Health of one server: SERVING for the empty name and for `name`, NOT_FOUND for others. */
export function healthService(name: string | undefined): ServiceImpl {
  const known = (service: string) => service === "" || service === name;
  return {
    service: Health,
    handlers: {
      check: (request: { service: string }) => {
        if (!known(request.service)) {
          return Promise.reject(new CocosError("not-found", "unknown service"));
        }
        return Promise.resolve({ status: Serving.SERVING });
      },
      watch: async function* (request: { service: string }, call: { signal: AbortSignal }) {
        yield { status: known(request.service) ? Serving.SERVING : Serving.SERVICE_UNKNOWN };
        if (!call.signal.aborted) {
          await new Promise((resolve) => call.signal.addEventListener("abort", resolve));
        }
      },
    },
  };
}
