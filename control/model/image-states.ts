import type { Table } from "./transition-table.ts";

export type ImageState = "PENDING_VALIDATION" | "VALIDATING" | "READY" | "ERROR" | "DELETED";

export type ImageEvent =
  /** Published again, or a user asked to validate it again. */
  "validationWished" | "validationBegan" | "resolved" | "refused" | "removed" | "timedOut";

/** Rows are states, columns are events; an empty cell is an event that the state does not allow. DELETED is a tombstone. */
export const IMAGE_TABLE: Table<ImageState, ImageEvent> = {
  PENDING_VALIDATION: { validationBegan: "VALIDATING", removed: "DELETED", timedOut: "ERROR" },
  VALIDATING: { resolved: "READY", refused: "ERROR", validationWished: "PENDING_VALIDATION", removed: "DELETED", timedOut: "ERROR" },
  READY: { validationWished: "PENDING_VALIDATION", removed: "DELETED" },
  ERROR: { validationWished: "PENDING_VALIDATION", removed: "DELETED" },
  DELETED: { validationWished: "PENDING_VALIDATION" },
};

export const PASSING_IMAGE_STATES = ["PENDING_VALIDATION", "VALIDATING"] as const satisfies ImageState[];

export const IMAGE_WIRE_STATES: Record<ImageState, string> = {
  PENDING_VALIDATION: "pending validation",
  VALIDATING: "validating",
  READY: "ready",
  ERROR: "error",
  DELETED: "deleted",
};
