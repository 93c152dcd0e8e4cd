/**
 * The test files that `npm run test:slow` runs and `npm test` leaves out: walks through whole installations, real swarms, the executable, upgrades, a
 * registry of berth's own and long recoveries, each above ten seconds on a quiet machine. `.ci/run` runs both. `npm test -- FILE` runs any file.
 * The longest come first, so that none is left to run alone.
 */
export const SLOW_FILES: readonly string[] = [
  "test/drivers/swarm.test.ts",
  "test/gateway/leaks.test.ts",
  "test/registry/embedded-berth.test.ts",
  "test/gateway/other-engines.test.ts",
  "test/registry/embedded-image.test.ts",
  "test/recovery/gateways-elsewhere.test.ts",
  "test/drivers/swarm-nodes.test.ts",
  "test/drivers/spawner-docker.test.ts",
  "test/recovery/engine-restarts.test.ts",
  "test/recovery/address-reuse.test.ts",
  "test/roles/drain.test.ts",
  "test/conf/stands.test.ts",
  "test/commands/install/upgrade.test.ts",
  "test/recovery/orphans.test.ts",
  "test/binary/image.test.ts",
  "test/commands/install/hand-over.test.ts",
  "test/recovery/killed.test.ts",
  "test/binary/binary.test.ts",
  "test/registry/embedded-whole.test.ts",
  "test/registry/embedded-stop.test.ts",
  "test/roles/control-away.test.ts",
];
