import type { Test } from "tap";
import type { Driver, ImageSource } from "../../../drivers/driver.ts";
import type { TestImage } from "../../fixtures/images.ts";

/** `port`: as a package says it itself, for a driver whose registries do not tell what an image exposes. */
export type TestSource = ImageSource & { port?: number | undefined };

/** What a driver's own test brings, so that the kit can look at the world past the driver. */
export type Harness = {
  /** A new driver over the same world, as a berth that was started again would have. */
  open(): Driver;
  image(name: TestImage): Promise<TestSource>;
  /** An image that does not exist. */
  unknown(): Promise<ImageSource>;
  /** Kills a running service, as a crash would, without the driver's help. */
  kill(service: string): Promise<void>;
  /** Names all that is left in the world of services whose name begins so, running or not. */
  left(prefix: string): Promise<string[]>;
  /** Takes a service away altogether, as a person at the orchestrator would. */
  vanish?(service: string): Promise<void>;
  /** Has a running service come up at another address. */
  move?(service: string): Promise<void>;
  /** A driver whose way to the orchestrator the test can break. */
  way?(t: Test): Promise<Way>;
  /** Images are looked up past the orchestrator, which may be away meanwhile. */
  resolvesElsewhere?: true;
  /** Cases that this orchestrator cannot have, by id, each with the reason; the same as in backends.ts. */
  cannot?: Readonly<Record<string, string>>;
};

export type Way = {
  driver: Driver;
  /** Breaks what is open; a new call gets through. */
  cut(): void;
  /** No answer comes until `back`. */
  away(): Promise<void>;
  back(): Promise<void>;
};

/** What a case is run with. */
export type ConformanceWorld = { harness: Harness; driver: Driver; name(what: string): string };

/** One promise of the contract. `needs` are the parts of the harness that not every world has. */
export type ConformanceCase = {
  id: string;
  promise: string;
  needs?: readonly ("vanish" | "move" | "way")[];
  run(t: Test, world: ConformanceWorld): Promise<void>;
};

export type ConformanceTheme = { title: string; cases: readonly ConformanceCase[] };
