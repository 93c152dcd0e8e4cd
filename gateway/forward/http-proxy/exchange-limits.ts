import type { Clock } from "../../../clock.ts";
import { Fault } from "../../../fault.ts";
import type { GatewayLimits } from "../../limits.ts";

/** The time limits of one exchange as a whole. */
export type ExchangeLimits = {
  /** Calls `act` with why the exchange must end, once it must, even if that was before; the last one given counts. */
  onLate(act: (fault: Fault) => void): void;
  /** Says whether bytes are to be expected now; from the next time on that they are, silence counts anew. */
  flows(is: boolean): void;
  /** Some bytes came. */
  alive(): void;
  /** The exchange must end for another reason. */
  end(fault: Fault): void;
  stop(): void;
};

export function startExchangeLimits(clock: Clock, limits: Pick<GatewayLimits, "idleTimeoutMs" | "totalTimeoutMs">): ExchangeLimits {
  const { idleTimeoutMs, totalTimeoutMs } = limits;
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
  const look = () => {
    const left = lastAt + idleTimeoutMs - clock.monotonic();
    if (left > 0) cancelIdle = clock.after(left, look);
    else end("Nothing was sent either way for longer than may be");
  };

  return {
    onLate: (next) => {
      act = next;
      if (late !== undefined) act(late);
    },
    flows: (is) => {
      cancelIdle();
      lastAt = clock.monotonic();
      cancelIdle = is && idleTimeoutMs > 0 ? clock.after(idleTimeoutMs, look) : () => {};
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
