// A server of its own process for the hostile tests: an uncaught exception here ends it, and the
// test sees that. Prints its port; an uploaded algorithm is counted and thrown away.
import { AgentService, implement, serve } from "../mod.ts";

const none = () => Promise.reject(new Error("unused"));
const server = await serve({
  host: "127.0.0.1",
  port: 0,
  healthName: "agent",
  services: [implement(AgentService, {
    algo: async (requests) => {
      for await (const _ of requests);
      return {};
    },
    data: none,
    result: async function* () {
      yield await none();
    },
    attestation: async function* () {
      yield await none();
    },
    iMAMeasurements: async function* () {
      yield await none();
    },
    azureAttestationToken: none,
  })],
});
console.log(server.port);
