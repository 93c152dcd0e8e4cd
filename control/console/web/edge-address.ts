import { createContext } from "preact";

/** The public origin of the edge, at which containers are reached; undefined: unknown. */
export const EdgeAddress = createContext<string | undefined>(undefined);
