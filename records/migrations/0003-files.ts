/** Uploaded files by name: whose they are and how old. The bytes lie in a folder or a bucket. */
export function files(): string[] {
  return [
    `create table files (
      name text primary key,
      prediction_id text not null,
      created_at bigint not null
    )`,
    `create index files_by_age on files (created_at)`,
  ]
}
