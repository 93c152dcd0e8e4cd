import * as fc from "fast-check";
import t from "tap";
import { FARGATE_SIZES, fargateSize } from "../../../drivers/ecs/fargate-sizes.ts";
import { isFargateSize } from "./fargate-rules.ts";

/** All pairs that the developer guide's table has, found without the driver's own. */
const SOLD = [256, 512, 1024, 2048, 4096, 8192, 16384].flatMap((cpu) =>
  Array.from({ length: 240 }, (_, half) => (half + 1) * 512)
    .filter((memoryMb) => isFargateSize(cpu, memoryMb))
    .map((memoryMb) => ({ cpu, memoryMb })),
);

t.test("the table is Amazon's", async (t) => {
  t.strictSame(
    FARGATE_SIZES.flatMap(({ cpu, memoryMb }) => memoryMb.map((most) => ({ cpu, memoryMb: most }))),
    SOLD,
  );
});

t.test("from 0.25 to 16 CPU and 0.5 to 120 GB, the size has room and none that is sold and smaller has", async (t) => {
  const cpu = fc.oneof(fc.double({ min: 0.25, max: 16, noNaN: true }), fc.constantFrom(0.25, 0.5, 1, 2, 4, 8, 16));
  const memoryMb = fc.oneof(fc.integer({ min: 512, max: 122_880 }), fc.constantFrom(512, 1_024, 30_720, 30_721, 61_440, 61_441, 122_880));
  const property = fc.property(cpu, memoryMb, (cpu, memoryMb) => {
    const fits = (size: { cpu: number; memoryMb: number }) => size.cpu >= cpu * 1024 && size.memoryMb >= memoryMb;
    const size = fargateSize({ cpu, memoryMb });
    const smaller = SOLD.filter((one) => fits(one) && (one.cpu < size.cpu || (one.cpu === size.cpu && one.memoryMb < size.memoryMb)));
    return isFargateSize(size.cpu, size.memoryMb) && fits(size) && smaller.length === 0;
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 2_000 }));
});

t.test("less than the smallest is the smallest; memory may cost CPU, and CPU memory", async (t) => {
  t.strictSame(fargateSize({ cpu: 0.01, memoryMb: 10 }), { cpu: 256, memoryMb: 512 });
  t.strictSame(fargateSize({ cpu: 0.25, memoryMb: 2_049 }), { cpu: 512, memoryMb: 3_072 });
  t.strictSame(fargateSize({ cpu: 0.25, memoryMb: 30_721 }), { cpu: 8_192, memoryMb: 32_768 });
  t.strictSame(fargateSize({ cpu: 3, memoryMb: 512 }), { cpu: 4_096, memoryMb: 8_192 });
  t.strictSame(fargateSize({ cpu: 16, memoryMb: 122_880 }), { cpu: 16_384, memoryMb: 122_880 });
});

t.test("beyond the largest it says what was asked for and what there is", async (t) => {
  for (const asked of [
    { cpu: 16.01, memoryMb: 512 },
    { cpu: 1, memoryMb: 122_881 },
    { cpu: 32, memoryMb: 250_000 },
  ]) {
    t.throws(() => fargateSize(asked), { code: "SPEC_REFUSED", message: new RegExp(`${asked.cpu} CPU with ${asked.memoryMb} MB.*16 CPU`) });
  }
});
