import type { CorrectnessRow } from "./row.ts";
import { BROKEN_OFF } from "./rows/broken-off.ts";
import { REQUEST_BODY } from "./rows/request-body.ts";
import { REQUEST_HEAD } from "./rows/request-head.ts";
import { RESPONSE } from "./rows/response.ts";
import { WEBSOCKET } from "./rows/websocket.ts";

export type CorrectnessTheme = { title: string; rows: readonly CorrectnessRow[] };

/** Every row of the correctness table. */
export const THEMES: readonly CorrectnessTheme[] = [
  { title: "The head of a request", rows: REQUEST_HEAD },
  { title: "Bodies and order", rows: REQUEST_BODY },
  { title: "The response", rows: RESPONSE },
  { title: "When one side goes away", rows: BROKEN_OFF },
  { title: "WebSockets", rows: WEBSOCKET },
];

export const ROWS: readonly CorrectnessRow[] = THEMES.flatMap(({ rows }) => rows);
