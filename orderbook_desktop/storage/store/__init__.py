"""What the database holds, in the words of the field. No other package names its collections.

Readers, exports and the proof use `RecordingStore`, which a place other than a database can
implement, too. What writes a recording uses these, each of which is about one thing:

    RunningSegments   segments that are being recorded, and their end after a crash
    EventWriter       events, at most once each; RawEvents reads and removes them
    Checkpoints       books inside segments
    ArchiveLease      who archives a segment, and how far its archive has come
    ChunkStore        the chunks of the archive
    BooklessRuns      runs of events that no book reaches
    SegmentCutter     the removal of a segment's oldest chunks
    Witnesses         books that the exchange gave meanwhile
    ImportJournal     the segments of an import, all or none
"""
