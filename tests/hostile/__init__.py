"""Files and texts that are meant to do harm: they run nothing, stay in their folder, fill no memory, fool no eye."""
