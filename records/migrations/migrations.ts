/**
 * All schema changes in order; the schema's version is their count. Files are only ever added. Decides whether this
 * version may use a database that it finds, and what brings an older one up to date; touches none itself.
 */
import type { Migration, SchemaWords } from '../sql/migrations/migration.ts'
import { predictions } from './0001-predictions.ts'
import { jobs } from './0002-jobs.ts'
import { files } from './0003-files.ts'
import { validations } from './0004-validations.ts'
import { keyAge } from './0005-key-age.ts'
import { tracking } from './0006-tracking.ts'
import { webhooks } from './0007-webhooks.ts'
import { sync } from './0008-sync.ts'
import { deadlines } from './0009-deadlines.ts'
import { progress } from './0010-progress.ts'
import { observed } from './0011-observed.ts'
import { flightStarts } from './0012-flight-starts.ts'
import { spans } from './0014-spans.ts'

export interface Schema {
  migrations: readonly Migration[]
  /**
   * The schema that the last release knows. Its processes run on, and may start against, what this version has
   * migrated: so every later migration only adds (tables, indexes, columns with a default), and what goes away goes
   * one release after the last code that used it. Raised to the count of migrations when a release is made.
   */
  lastRelease: number
}

export const schema: Schema = {
  migrations: [
    predictions,
    jobs,
    files,
    validations,
    keyAge,
    tracking,
    webhooks,
    sync,
    deadlines,
    progress,
    observed,
    flightStarts,
    spans,
  ],
  lastRelease: 8,
}

/** What a database says of itself. */
export interface FoundSchema {
  version: number
  /** The smallest schema whose code may use it; recorded by whoever migrated it. Absent in databases before 0.1.0. */
  oldest?: number | null
}

/** Whether nothing has to be done. Throws if the database has left this version behind. */
export function isCurrent({ version, oldest }: FoundSchema, { migrations }: Schema): boolean {
  if ((oldest ?? version) > migrations.length) {
    throw new Error(
      `its schema ${version} was written by a newer Perdure; it can be used from schema ${oldest ?? version} on, this version knows ${migrations.length}`,
    )
  }
  return version >= migrations.length
}

export function pendingStatements(version: number, { migrations }: Schema, words: SchemaWords): string[] {
  return migrations.slice(version).flatMap((migration) => migration(words))
}

/** What is recorded once those statements have run. */
export function reached({ migrations, lastRelease }: Schema): { version: number; oldest: number } {
  return { version: migrations.length, oldest: lastRelease }
}
