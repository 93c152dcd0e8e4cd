/** Names of variables that deployments in the field use, by their rules. */

/** `dockerSettings.proxyRequestTimeout` → `GROK_PARAMETERS_DOCKER_SETTINGS__PROXY_REQUEST_TIMEOUT`. */
export function parameterName(key: string): string {
  return `GROK_PARAMETERS_${key.split(".").map(upperSnake).join("__")}`;
}

/** The four spellings of one of the spawner's nested names: `GROK_SPAWNER_CVM_ECS__CLUSTER`, with one `_`, and both without prefix. */
export function spawnerNames(block: string, name: string): string[] {
  return ["GROK_SPAWNER_", ""].flatMap((prefix) => [`${prefix}${block}__${name}`, `${prefix}${block}_${name}`]);
}

function upperSnake(camelCase: string): string {
  return camelCase.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}
