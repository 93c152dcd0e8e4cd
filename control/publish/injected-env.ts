/** What containers are told of the stand around them. */
export type StandSettings = {
  /** Where a *container* reaches the API; differs from the public address. */
  apiUrl: string | undefined;
  queue: {
    amqpHost: string;
    amqpPort: number;
    amqpUser: string;
    amqpPassword: string;
    tls: boolean;
    pipeHost: string;
    pipePort: number;
    pipeKey: string;
  };
};

/**
 * The variables that every container gets, under the names that published images read (AMPQ is how they spell it). The
 * container's own map comes last and wins. `userToken` is a session of the user whose action starts it.
 */
export function injectedEnv(stand: StandSettings, userToken: string | undefined): Record<string, string> {
  const { queue } = stand;
  return {
    DATAGROK_AMPQ_HOST: queue.amqpHost,
    DATAGROK_AMPQ_PORT: String(queue.amqpPort),
    DATAGROK_AMPQ_USER: queue.amqpUser,
    DATAGROK_AMPQ_PASSWORD: queue.amqpPassword,
    DATAGROK_AMPQ_TLS: String(queue.tls),
    DATAGROK_PIPE_HOST: queue.pipeHost,
    DATAGROK_PIPE_PORT: String(queue.pipePort),
    DATAGROK_PIPE_KEY: queue.pipeKey,
    ...(stand.apiUrl === undefined ? {} : { DATAGROK_API_URL: stand.apiUrl }),
    ...(userToken === undefined ? {} : { USER_API_KEY: userToken }),
  };
}
