/** More than any plugin was seen to need, and few enough that one container leaves others room. */
export const DEFAULT_PIDS_LIMIT = 4_096;
