/** Opens the file storage that the settings name. Owns the choice only. */
import { join } from 'node:path'
import type { FileBytes } from './files.ts'
import { makeFolderFiles } from './folder-files.ts'

export interface FileChoice {
  /** Files lie in its folder `files`. */
  dataDir: string
}

export function openFiles({ dataDir }: FileChoice): FileBytes {
  return makeFolderFiles(join(dataDir, 'files'))
}
