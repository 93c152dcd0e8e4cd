import type { Settings } from "../../conf/settings.ts";
import { Fault } from "../../lib/fault.ts";
import { isLoopback } from "../../processes/listeners.ts";
import { DEFAULT_SPAWNER_KEY } from "../../processes/open-driver.ts";
import { type CheckContext, type CheckProblem, type CheckResult, failure, warning } from "./check.ts";

type Rule = { broken(settings: Settings): boolean; is: CheckProblem };

/** Valid settings that are probably mistakes. */
const RULES: readonly Rule[] = [
  {
    broken: ({ spawner, spawnerHost, spawnerApiKey }) => spawner && spawnerApiKey === DEFAULT_SPAWNER_KEY && !isLoopback(spawnerHost),
    is: failure("The spawner API listens beyond this machine with its default key.", "Set X_API_KEY here and at its callers."),
  },
  {
    broken: ({ driver, dockerSettings: { spawnerAuthMode, grokSpawnerApiKey } }) =>
      driver === "spawner" && spawnerAuthMode === "password" && grokSpawnerApiKey === DEFAULT_SPAWNER_KEY,
    is: failure("dockerSettings.grokSpawnerApiKey is the default key.", "Set another key at the spawner and here."),
  },
  {
    broken: ({ tlsCert, tlsKey }) => (tlsCert === undefined) !== (tlsKey === undefined),
    is: failure("Only one of BERTH_TLS_CERT and BERTH_TLS_KEY is set.", "Set both, or neither."),
  },
  {
    broken: ({ registry }) => registry.kind === "embedded" && (registry.url !== undefined || registry.ecrMode),
    is: failure("BERTH_REGISTRY=embedded runs a registry, and REGISTRY_URL or ECR_MODE names another.", "Set one of them."),
  },
  {
    broken: ({ edgeHost, webRoot }) => !isLoopback(edgeHost) && webRoot === undefined,
    is: warning("The edge listens beyond this machine, and its public address is not set.", "Set BERTH_WEB_ROOT to the address that browsers use."),
  },
  {
    broken: ({ edgeHost, webRoot, tlsCert, trustedProxies }) =>
      !isLoopback(edgeHost) && tlsCert === undefined && trustedProxies.length === 0 && !webRoot?.startsWith("https:"),
    is: warning(
      "The edge listens beyond this machine without TLS.",
      "Set BERTH_TLS_CERT and BERTH_TLS_KEY, or put TLS in front and name it in BERTH_TRUSTED_PROXIES.",
    ),
  },
];

/** Whether the settings are valid and safe. */
export async function checkSettings(chain: CheckContext): Promise<CheckResult> {
  try {
    const { settings, sources, warnings } = chain.loadSettings();
    const count = Object.values(sources).filter((source) => source !== "default").length;
    return {
      says: `readable, ${count} of them set`,
      problems: [
        ...RULES.filter(({ broken }) => broken(settings)).map(({ is }) => is),
        ...warnings.map((warningText) => warning(warningText, "Check its name in docs/reference/settings.md.")),
      ],
    };
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return {
      says: "",
      problems: error.message.split("\n").map((line) => failure(line, "Correct it; docs/reference/settings.md has every setting.")),
    };
  }
}
