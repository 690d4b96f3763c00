/** The newest installed folder of initdb, pg_ctl and postgres, or undefined. */
export function postgresFolder(): string | undefined
/** The same, installed where it is missing and that is allowed. */
export function provide(): Promise<string>
