import type { Lifecycle } from "../../lifecycle/open-lifecycle.ts";

/** What publishing and saving tell the lifecycle. */
export type Told = Pick<Lifecycle, "requestValidation" | "definitionChanged" | "remove">;
