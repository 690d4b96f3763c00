/** All schema changes in order; the schema's version is their count. Files are only ever added. */
import { predictions } from './0001-predictions.ts'
import { jobs } from './0002-jobs.ts'
import { files } from './0003-files.ts'
import { validations } from './0004-validations.ts'
import { keyAge } from './0005-key-age.ts'
import { tracking } from './0006-tracking.ts'
import { webhooks } from './0007-webhooks.ts'
import { sync } from './0008-sync.ts'

/** Where the dialects differ. */
export interface SchemaWords {
  /** An ascending primary key that is never reused. */
  identity: string
}

export type Migration = (words: SchemaWords) => string[]

export const migrations: readonly Migration[] = [
  predictions,
  jobs,
  files,
  validations,
  keyAge,
  tracking,
  webhooks,
  sync,
]

/** Throws if the database was written by a newer version; else the statements that bring it up to date. */
export function pendingStatements(version: number, words: SchemaWords): string[] {
  if (version > migrations.length) {
    throw new Error(
      `The record database has schema ${version}, this version of Perdure knows ${migrations.length}: it was written by a newer one`,
    )
  }
  return migrations.slice(version).flatMap((migration) => migration(words))
}
