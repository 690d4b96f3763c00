/** Types of python-venv.mjs, which stays plain JavaScript so that any Node ≥ 20 runs it. */

export type VenvName = 'cog' | 'mlserver' | 'kserve' | 'clients' | 'replicate'

export interface Venv {
  /** Path of the interpreter. */
  python: string
  /** Folder of its executables, to put first on PATH. */
  bin: string
}

export declare const requirements: Record<VenvName, readonly string[]>
export declare function existingVenv(name: VenvName): Venv | undefined
export declare function ensureVenv(name: VenvName): Promise<Venv>
