/**
 * The test files that `npm run test:slow` runs and `npm test` leaves out: walks through whole installations, real swarms, the executable, and long
 * recoveries, each far above ten seconds on a quiet machine. `.ci/run` runs both. `npm test -- FILE` runs any file.
 */
export const SLOW_FILES: readonly string[] = [
  "test/binary/binary.test.ts",
  "test/binary/image.test.ts",
  "test/conf/stands.test.ts",
  "test/drivers/swarm.test.ts",
  "test/drivers/swarm-nodes.test.ts",
];
