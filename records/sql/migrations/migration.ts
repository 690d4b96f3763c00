/** What a migration is. Owns no statement; the list of them is in migrations.ts. */

/** Where the dialects differ. */
export interface SchemaWords {
  /** An ascending primary key that is never reused. */
  identity: string
}

export type Migration = (words: SchemaWords) => string[]
