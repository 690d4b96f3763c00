/** Opens the file storage that the settings name. Owns the choice only. */
import { join } from 'node:path'
import type { FileBytes } from './files.ts'
import { makeFolderFiles } from './folder-files.ts'

/** Structural twin of the settings that config.ts reads. */
export type FileChoice =
  | { kind: 'folder'; dataDir: string }
  | { kind: 's3'; bucket: string; region: string; prefix: string; endpoint?: string }

export async function openFiles(choice: FileChoice): Promise<FileBytes> {
  if (choice.kind === 'folder') return makeFolderFiles(join(choice.dataDir, 'files'))
  // Whoever keeps files in a folder does not load the SDK.
  const { makeS3Files } = await import('./s3-files.ts')
  const { kind: _, ...settings } = choice
  return makeS3Files(settings)
}
