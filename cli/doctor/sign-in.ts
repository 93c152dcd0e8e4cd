import { openConfiguredProvider } from "../../processes/configured-oidc.ts";
import { configuredProviders, oidcSettingsFault, providerName } from "../../processes/sign-in-providers.ts";
import { Fault } from "../../lib/fault.ts";
import { openLog } from "../../lib/log.ts";
import { type CheckContext, type CheckProblem, type CheckResult, failure } from "./check.ts";

/** Loads the document of each sign-in provider, as this machine reaches it. */
export async function checkSignIn({ settings, clock }: Pick<CheckContext, "settings" | "clock">): Promise<CheckResult> {
  const fault = oidcSettingsFault(settings);
  if (fault !== undefined) return { says: "", problems: [failure(fault.message, "See docs/sign-in.md.")] };
  const configured = configuredProviders(settings.oidc);
  if (configured.length === 0) return { unlooked: "BERTH_OIDC_ISSUER is not set" };
  const log = openLog({ level: "silent", name: "doctor" });
  const results = await Promise.all(
    configured.map(async (one): Promise<string | CheckProblem> => {
      const provider = openConfiguredProvider(one, { clock, log });
      try {
        const { device, signOut } = await provider.features();
        const lacks = [...(device ? [] : ["sign-in of command lines"]), ...(signOut || !one.signOut ? [] : ["sign-out"])];
        return `${providerName(one)} answers${lacks.length === 0 ? "" : `, and has no ${lacks.join(" and no ")}`}`;
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        return failure(error.message, `Check ${one.settingOf("issuer")}, and that this machine reaches ${one.issuer}.`);
      } finally {
        provider.close();
      }
    }),
  );
  return { says: results.filter((one) => typeof one === "string").join("; "), problems: results.filter((one) => typeof one !== "string") };
}
