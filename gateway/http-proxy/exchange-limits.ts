import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { type GatewayLimits, stalledBody } from "../limits.ts";

/** The time limits of one exchange as a whole. */
export type ExchangeLimits = {
  /** Calls `act` with why the exchange must end, once it must, even if that was before; the last one given counts. */
  onLate(act: (fault: Fault) => void): void;
  /**
   * Whether bytes are to be expected now, and whether those are a request's body without a response so far; from the next time on that
   * they are, silence counts anew.
   */
  flows(is: boolean, isBody?: boolean): void;
  /** Some bytes came. */
  alive(): void;
  /** The exchange must end for another reason. */
  end(fault: Fault): void;
  stop(): void;
};

export function startExchangeLimits(clock: Clock, limits: Pick<GatewayLimits, "idleTimeoutMs" | "bodyTimeoutMs" | "totalTimeoutMs">): ExchangeLimits {
  const { idleTimeoutMs, bodyTimeoutMs, totalTimeoutMs } = limits;
  let act = (_fault: Fault): void => undefined;
  let late: Fault | undefined;
  let lastAt = 0;
  let cancelIdle = () => {};

  const endWith = (fault: Fault) => {
    late = fault;
    act(fault);
  };
  const end = (sentence: string) => endWith(new Fault("EXCHANGE_TIMED_OUT", sentence));
  const cancelTotal = totalTimeoutMs === 0 ? () => {} : clock.after(totalTimeoutMs, () => end("The request took longer than one may take here"));
  const watch = (ms: number, late: () => void): void => {
    const left = lastAt + ms - clock.monotonic();
    if (left > 0) cancelIdle = clock.after(left, () => watch(ms, late));
    else late();
  };
  const silent = () => end("Nothing was sent either way for longer than may be");

  return {
    onLate: (next) => {
      act = next;
      if (late !== undefined) act(late);
    },
    flows: (is, isBody = false) => {
      cancelIdle();
      lastAt = clock.monotonic();
      cancelIdle = () => {};
      if (!is) return;
      if (isBody && bodyTimeoutMs > 0 && (idleTimeoutMs === 0 || bodyTimeoutMs < idleTimeoutMs))
        watch(bodyTimeoutMs, () => endWith(stalledBody(bodyTimeoutMs)));
      else if (idleTimeoutMs > 0) watch(idleTimeoutMs, silent);
    },
    alive: () => {
      lastAt = clock.monotonic();
    },
    end: endWith,
    stop: () => {
      cancelTotal();
      cancelIdle();
      act = () => undefined;
    },
  };
}
