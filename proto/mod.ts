/**
 * The wire: messages and services as the Cocos programs have them, the one gRPC server and client
 * made from them, and the keys and signatures of the parties.
 *
 * @example
 * ```ts
 * import { connect, implement, ManagerService, serve } from "./mod.ts";
 *
 * await using server = await serve({
 *   host: "127.0.0.1",
 *   port: 0,
 *   services: [implement(ManagerService, {
 *     createVm: () => Promise.resolve({ cvmId: "1", forwardedPort: "6100" }),
 *     removeVm: () => Promise.resolve({}),
 *     cVMInfo: (request) => Promise.resolve({ id: request.id }),
 *     attestationPolicy: (request) => Promise.resolve({ id: request.id }),
 *   })],
 * });
 * await using client = connect(ManagerService, {
 *   target: { host: "127.0.0.1", port: server.port },
 *   security: { kind: "none" },
 * });
 * console.log((await client.createVm({})).forwardedPort); // "6100"
 * ```
 *
 * @module
 */
export * from "./agreement.ts";
export * from "./auth.ts";
export * from "./canonical.ts";
export * from "./client.ts";
export * from "./gen/agent_pb.ts";
export * as cvms from "./gen/cvms_pb.ts";
export { Service as CvmsService } from "./gen/cvms_pb.ts";
export * as events from "./gen/events_pb.ts";
export * from "./gen/manager_pb.ts";
export * from "./gen/party_pb.ts";
export * from "./acknowledge.ts";
export * from "./limits.ts";
export { recycle } from "./_messages.ts";
export * from "./request.ts";
export * from "./rpc.ts";
export * from "./runner/mod.ts";
export * from "./server.ts";
