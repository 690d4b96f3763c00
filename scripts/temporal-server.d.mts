/** Types of temporal-server.mjs. */

/** The version that is built, such as `v1.32.0`. */
export declare const version: string
/** Path of each program, or undefined while one is missing. */
export declare function temporalServerPrograms():
  | Record<'temporal-server' | 'temporal-sql-tool', string>
  | undefined
/** The same, built where one is missing; resolves with words for the operator. */
export declare function provide(limitMs?: number): Promise<string>
