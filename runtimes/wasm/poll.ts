// `poll_oneoff`: clocks to wait for, and descriptors that are always ready: files, and streams that
// block.
import { Clock, Errno, Eventtype, fail, Right } from "./abi.ts";
import { errnoOf } from "./errors.ts";
import { type Calls, type Guest, readClock } from "./host.ts";

const SUBSCRIPTION_BYTES = 48;
const EVENT_BYTES = 32;
/** Most subscriptions of one call. */
const MAX_SUBSCRIPTIONS = 4096;
/** The time of a clock subscription is a point, not a span (`subclockflags`). */
const ABSTIME = 1;

interface Event {
  readonly userdata: bigint;
  readonly type: number;
  readonly errno: number;
  readonly bytes: bigint;
}

/** Nothing ever wakes it: waiting is only for time. */
const never = new Int32Array(new SharedArrayBuffer(4));

/** The function. */
export function pollCalls({ memory, descriptors }: Guest): Calls {
  const clockEvent = (at: number): { due: bigint; clock: number } => {
    const clock = memory.u32(at + 16);
    // Time that passes only while the guest runs can't be waited for.
    if (clock !== Clock.REALTIME && clock !== Clock.MONOTONIC) fail(Errno.INVAL);
    const timeout = memory.u64(at + 24);
    const absolute = (memory.u16(at + 40) & ABSTIME) !== 0;
    return { due: absolute ? timeout : readClock(clock) + timeout, clock };
  };
  const ready = (at: number, type: number): bigint => {
    const right = type === Eventtype.FD_READ ? Right.FD_READ : Right.FD_WRITE;
    const found = descriptors.get(memory.u32(at + 16), Right.POLL_FD_READWRITE | right);
    if (found.kind !== "file" || type !== Eventtype.FD_READ) return 0n;
    const left = BigInt(found.real.statSync().size - found.position);
    return left > 0n ? left : 0n;
  };
  return {
    poll_oneoff: (from: number, to: number, count: number, used: number) => {
      count >>>= 0;
      if (count === 0 || count > MAX_SUBSCRIPTIONS) fail(Errno.INVAL);
      memory.bytes(from, count * SUBSCRIPTION_BYTES);
      memory.bytes(to, count * EVENT_BYTES);
      memory.setU32(used, 0);
      const events: Event[] = [];
      const clocks: { userdata: bigint; due: bigint; clock: number }[] = [];
      for (let i = 0; i < count; i++) {
        const at = (from >>> 0) + i * SUBSCRIPTION_BYTES;
        const userdata = memory.u64(at);
        const type = memory.u8(at + 8);
        try {
          if (type === Eventtype.CLOCK) clocks.push({ userdata, ...clockEvent(at) });
          else if (type === Eventtype.FD_READ || type === Eventtype.FD_WRITE) {
            events.push({ userdata, type, errno: Errno.SUCCESS, bytes: ready(at, type) });
          } else fail(Errno.INVAL);
        } catch (thrown) {
          const errno = errnoOf(thrown);
          if (errno === undefined) throw thrown;
          events.push({ userdata, type, errno, bytes: 0n });
        }
      }
      const due = () =>
        clocks.filter(({ clock, due }) => readClock(clock) >= due)
          .map(({ userdata }) => ({ userdata, type: Eventtype.CLOCK, errno: 0, bytes: 0n }));
      let over = due();
      while (events.length === 0 && over.length === 0) {
        const left = clocks.map(({ clock, due }) => due - readClock(clock))
          .reduce((least, each) => each < least ? each : least);
        // A day at most in one go; the wall time limit comes long before.
        Atomics.wait(never, 0, 0, Math.min(Number(left) / 1e6, 86_400_000));
        over = due();
      }
      events.push(...over);
      events.forEach(({ userdata, type, errno, bytes }, i) => {
        const at = (to >>> 0) + i * EVENT_BYTES;
        memory.bytes(at, EVENT_BYTES).fill(0);
        memory.setU64(at, userdata);
        memory.setU16(at + 8, errno);
        memory.setU8(at + 10, type);
        memory.setU64(at + 16, bytes);
      });
      memory.setU32(used, events.length);
    },
  };
}
