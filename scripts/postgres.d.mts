/** Types of postgres.mjs. */

/** Folder of initdb, pg_ctl and postgres, the newest that is installed; undefined when there is none. */
export declare function postgresFolder(): string | undefined
/** Installs PostgreSQL where that is allowed; resolves with the folder. */
export declare function provide(): Promise<string>
