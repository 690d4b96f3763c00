/** Types of run.mjs. */

/** Path of an executable on PATH or in one of the other folders. */
export declare function findExecutable(name: string, otherFolders?: readonly string[]): string | undefined
export declare function isExecutable(path: string): boolean
