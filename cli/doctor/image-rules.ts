import { configuredCosign, hasImageRules } from "../../processes/configured-image-policy.ts";
import { configuredDriver } from "../../processes/open-driver.ts";
import { type CheckContext, type CheckResult, failure } from "./check.ts";

/** The rules for images, and the program that verifies their signatures. */
export async function checkImageRules({ settings, context, clock }: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  if (!hasImageRules(settings)) return { unlooked: "no BERTH_IMAGE_* setting limits images" };
  if (configuredDriver(settings) === "process")
    return {
      says: "",
      problems: [failure("The driver process runs no images, so BERTH_IMAGE_* has no effect.", "Unset them, or choose another BERTH_DRIVER.")],
    };
  const { keys, identities, allow, cosign: program } = settings.image;
  const cosign = configuredCosign(settings, { env: context.env, clock });
  await cosign?.probe(signal);
  const signatures = cosign
    ? `${program} verifies signatures with ${keys.length === 1 ? "1 key" : `${keys.length} keys`}${identities.length === 0 ? "" : ` and by ${identities.length === 1 ? "1 identity" : `${identities.length} identities`}`}`
    : "no signatures are needed";
  return { says: `${signatures}; allowed are ${allow.length === 0 ? "all names" : allow.join(", ")}` };
}
