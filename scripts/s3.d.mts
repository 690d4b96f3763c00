/** Types of s3.mjs. */

/** Path of the server, or undefined where it has not been built. */
export declare function s3Server(): string | undefined
/** The same, built where it is missing; resolves with words for the operator. */
export declare function provide(limitMs?: number): Promise<string>
